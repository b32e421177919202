"""Tasks: which columns hold text and label, what the labels are called, and how answers are scored.

A `Task` is a description; it holds no data (`data.py` reads it) and no model. `TASKS` has those with a name: GLUE's,
scored as in Wang et al., "GLUE" (2019), section 3, SQuAD v1.1 (questions about a context, Rajpurkar et al. 2016) and
WNUT-17 (words with entity tags, Derczynski et al. 2017).

>>> GLUE["cola"].compute([[2.0, 1.0], [0.0, 3.0], [1.0, 4.0]], [0, 1, 1])
{'mcc': 100.0}
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats
from seqeval import metrics as entities
from sklearn import metrics

from bitbert.errors import DataError
from bitbert.training.answer_scores import answer_scores

Kind = Literal["classification", "regression", "answering", "tagging"]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """What is asked of a text, of a pair of texts, of a question with its context, or of a list of words.

    `text_columns` are one or two column names of the source. `label_names` are in order of their ids, empty for a
    regression or for questions. `metrics` of texts are names from `METRICS`; where there are two, their mean is the
    main one, as GLUE scores it. Questions have `f1` and `exact_match`, words `f1` of their entities, and f1 is main.
    """

    name: str
    kind: Kind
    text_columns: tuple[str, ...]
    label_column: str = "label"
    label_names: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ("accuracy",)

    @property
    def is_regression(self) -> bool:
        """Whether the label is a number instead of a class."""
        return self.kind == "regression"

    @property
    def num_labels(self) -> int:
        """Outputs that a head for this task has; for questions those are start and end."""
        return {"regression": 1, "answering": 2}.get(self.kind, len(self.label_names))

    @property
    def main_metric(self) -> str:
        """Key of `compute`'s result that stands for the task in tables and in the choice of a model."""
        if self.kind in ("answering", "tagging"):
            return "f1"
        return self.metrics[0] if len(self.metrics) == 1 else "mean"

    def compute(self, outputs: Any, labels: Any) -> dict[str, float]:
        """Scores in points (0 to 100, correlations -100 to 100).

        `outputs` are logits (N, labels) or class ids (N,); for a regression (N, 1) or (N,). `labels` (N,). Questions:
        N texts, and for each the list of answers that are right. Words: N lists of label names on both sides.
        """
        if self.kind == "answering":
            return answer_scores(outputs, labels)
        if self.kind == "tagging":
            return _entity_scores(outputs, labels)
        predicted, expected = np.asarray(outputs), np.asarray(labels)
        if predicted.ndim == 2:
            predicted = predicted[:, 0] if self.is_regression else predicted.argmax(axis=1)
        if predicted.shape != expected.shape:
            raise ValueError(f"{predicted.shape[0]} outputs for {expected.shape[0]} labels")
        scores = {name: 100.0 * METRICS[name](predicted, expected) for name in self.metrics}
        if len(scores) > 1:
            scores["mean"] = sum(scores.values()) / len(scores)
        return scores


def _correlation(of: Callable[[Values, Values], tuple[float, float]], predicted: Values, expected: Values) -> float:
    """A correlation, 0 where it is undefined: constant or non-finite values carry no information."""
    if not np.isfinite(predicted).all() or np.ptp(predicted) == 0 or np.ptp(expected) == 0:
        return 0.0
    return float(of(predicted, expected)[0])


def _entity_scores(predicted: Sequence[Sequence[str]], expected: Sequence[Sequence[str]]) -> dict[str, float]:
    """Precision, recall and F1 of whole entities, as CoNLL counts them: kind, first and last word must be right."""
    found = {
        "f1": entities.f1_score(expected, predicted, zero_division=0),
        "precision": entities.precision_score(expected, predicted, zero_division=0),
        "recall": entities.recall_score(expected, predicted, zero_division=0),
    }
    return {name: 100.0 * float(value) for name, value in found.items()}


METRICS: dict[str, Callable[[Values, Values], float]] = {
    "accuracy": lambda predicted, expected: float(metrics.accuracy_score(expected, predicted)),
    "mcc": lambda predicted, expected: float(metrics.matthews_corrcoef(expected, predicted)),
    "f1": lambda predicted, expected: float(metrics.f1_score(expected, predicted, zero_division=0.0)),
    "pearson": lambda predicted, expected: _correlation(stats.pearsonr, predicted, expected),
    "spearman": lambda predicted, expected: _correlation(stats.spearmanr, predicted, expected),
}

_ENTAILMENT = ("entailment", "not_entailment")
_SENTENCES = ("sentence1", "sentence2")

GLUE: dict[str, Task] = {
    task.name: task
    for task in (
        Task("sst2", "classification", ("sentence",), label_names=("negative", "positive")),
        Task("cola", "classification", ("sentence",), label_names=("unacceptable", "acceptable"), metrics=("mcc",)),
        Task(
            "mrpc",
            "classification",
            _SENTENCES,
            label_names=("not_equivalent", "equivalent"),
            metrics=("accuracy", "f1"),
        ),
        Task("stsb", "regression", _SENTENCES, metrics=("pearson", "spearman")),
        Task("qnli", "classification", ("question", "sentence"), label_names=_ENTAILMENT),
        Task("rte", "classification", _SENTENCES, label_names=_ENTAILMENT),
        Task(
            "qqp",
            "classification",
            ("question1", "question2"),
            label_names=("not_duplicate", "duplicate"),
            metrics=("accuracy", "f1"),
        ),
        Task(
            "mnli",
            "classification",
            ("premise", "hypothesis"),
            label_names=("entailment", "neutral", "contradiction"),
        ),
    )
}


_WNUT_KINDS = ("corporation", "creative-work", "group", "location", "person", "product")

TASKS: dict[str, Task] = GLUE | {
    "squad": Task("squad", "answering", ("question", "context"), "answers"),
    "wnut17": Task(
        "wnut17",
        "tagging",
        ("tokens",),
        "ner_tags",
        label_names=("O", *(f"{mark}-{kind}" for kind in _WNUT_KINDS for mark in "BI")),
    ),
}


def find_task(name: str) -> Task:
    """The task of this name; raises `DataError` with the names that there are."""
    if name not in TASKS:
        raise DataError(f"there is no task {name!r}: use one of {', '.join(TASKS)}, or give your own --train-file")
    return TASKS[name]
