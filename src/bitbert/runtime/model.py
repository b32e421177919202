"""`bitbert.load`: a packed directory that answers. Texts in; labels, numbers, answers, tags or embeddings out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bitbert.checkpoint import Architecture, PackedModel, read
from bitbert.errors import ModelError
from bitbert.runtime import answers, tags
from bitbert.runtime.answers import MAX_ANSWER_TOKENS, Answer
from bitbert.runtime.engine import Engine, default_threads
from bitbert.runtime.tags import Tagged
from bitbert.runtime.tokenizer import Ids, Text, Tokenizer
from bitbert.runtime.windows import Floats, Forward

BATCH_SIZE = 32
POOLINGS = ("mean", "cls")


@dataclass(frozen=True)
class Prediction:
    """The answer to one text: the best label, its probability and those of all; of a regression, the value only."""

    label: str | None = None
    score: float | None = None
    scores: dict[str, float] = field(default_factory=dict)
    value: float | None = None


def load(
    directory: str | Path, *, threads: int | None = None, isa: str | None = None, max_length: int | None = None
) -> Model:
    """Open a packed directory.

    `threads` (default: every CPU) and `isa` (default: `BITBERT_ISA`, else the best) change the speed, never an answer;
    texts are cut at `max_length` tokens (default: as many as the model has positions), contexts and tagged words are
    read in windows of so many (default: 384). Raises `CheckpointError` for a
    directory that is missing, damaged or of a newer format, `InstructionSetError` for an `isa` that cannot run here.
    """
    if threads is not None and threads < 1:
        raise ModelError(f"threads must be 1 or more, not {threads}")
    model = read(directory)
    tokenizer = Tokenizer(Path(directory), Architecture.from_config(model.config), max_length)
    return Model(model, tokenizer, Engine(model, isa), threads or default_threads())


class Model:
    """A loaded model. Answers do not depend on the batch, on the other texts or on the number of threads."""

    def __init__(self, packed: PackedModel, tokenizer: Tokenizer, engine: Engine, threads: int) -> None:
        """Put the parts together; `load` makes them from a directory."""
        self.config, self.spec = packed.config, packed.spec
        self.labels = _labels(packed.config, engine.architecture.num_labels)
        self.tokenizer, self.engine, self.threads = tokenizer, engine, threads

    @property
    def task(self) -> Literal["texts", "answering", "tagging"]:
        """What the head is for: `predict` and `logits` of texts, `answer`, or `tag`; `encode` always works."""
        architecture = self.engine.architecture
        if architecture.head != "token":
            return "texts"
        return "answering" if architecture.head_name == "qa_outputs" else "tagging"

    @property
    def is_regression(self) -> bool:
        """Whether the model answers with a number instead of a label."""
        problem = self.config.get("problem_type")
        return problem == "regression" or (problem is None and len(self.labels) == 1)

    def predict(self, texts: Iterable[Text], *, batch_size: int = BATCH_SIZE) -> list[Prediction]:
        """Label (or, for a regression, value) of each text or pair of texts, in their order.

        Raises `DataError` for anything but a list of strings or of pairs, `ModelError` if the model does not classify
        texts.
        """
        logits = self.logits(texts, batch_size=batch_size)
        if self.is_regression:
            return [Prediction(value=float(row[0])) for row in logits]
        return [self._prediction(row) for row in _softmax(logits)]

    def logits(self, texts: Iterable[Text], *, batch_size: int = BATCH_SIZE) -> Floats:
        """What the head gives for each text or pair, float32 (texts, labels)."""
        if self.engine.architecture.head != "sequence":
            raise ModelError(f"{self.config['architectures'][0]} does not classify texts; encode() gives embeddings")
        return self._run(texts, "logits", batch_size)

    def answer(self, question: str, context: str, *, max_answer_tokens: int = MAX_ANSWER_TOKENS) -> Answer:
        """The part of `context`, of any length, that answers `question`; `answers` takes several at once.

        `context[answer.start : answer.end]` is `answer.text`. There is always an answer: whether to trust it is for
        `answer.score` to say.
        """
        return self.answers([(question, context)], max_answer_tokens=max_answer_tokens)[0]

    def answers(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        max_answer_tokens: int = MAX_ANSWER_TOKENS,
        batch_size: int = BATCH_SIZE,
    ) -> list[Answer]:
        """The answer to each (question, context), in their order; `batch_size` is in windows.

        Raises `DataError` for anything but pairs of texts, `ModelError` if the model does not answer questions.
        """
        if self.task != "answering":
            raise ModelError(f"{self.config['architectures'][0]} does not answer questions")
        self.tokenizer.check_pairs()
        forward = self._token_logits(batch_size)
        return answers.answers(pairs, self.tokenizer.windows, forward, max_answer_tokens)

    def tag(self, words: str | Sequence[str]) -> Tagged:
        """A label for each word, and the entities among them; `tags` takes several inputs at once.

        A text is split at blanks, and marks at the ends of words are words of their own; to have it otherwise, give a
        list of words. Places are in characters, of a list in its words with one blank between.
        """
        return self.tags([words])[0]

    def tags(self, inputs: Iterable[str | Sequence[str]], *, batch_size: int = BATCH_SIZE) -> list[Tagged]:
        """Tags of each text or list of words, of any length, in their order; `batch_size` is in windows.

        Raises `DataError` for anything else, `ModelError` if the model does not tag words.
        """
        if self.task != "tagging":
            raise ModelError(f"{self.config['architectures'][0]} does not tag words")
        return tags.tags(inputs, self.labels, self.tokenizer.windows, self._token_logits(batch_size))

    def encode(
        self,
        texts: Iterable[Text],
        *,
        pooling: str = "mean",
        normalize: bool = False,
        batch_size: int = BATCH_SIZE,
    ) -> Floats:
        """Embedding of each text or pair, float32 (texts, hidden size).

        `pooling`: `mean` over all tokens, or `cls`, the first token. `normalize` scales each embedding to length 1.
        """
        if pooling not in POOLINGS:
            raise ModelError(f"unknown pooling {pooling!r}, expected one of: {', '.join(POOLINGS)}")
        embeddings = self._run(texts, "mean" if pooling == "mean" else "hidden", batch_size)
        if not normalize:
            return embeddings
        return np.asarray(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True), np.float32)

    def _run(self, texts: Iterable[Text], output: str, batch_size: int) -> Floats:
        """One row a text, in order; run in batches of similar length, which keeps all threads busy to the end."""
        _check_batch_size(batch_size)
        ids, types = self.tokenizer.encode(texts)
        architecture = self.engine.architecture
        width = architecture.num_labels if output == "logits" else architecture.hidden_size
        rows = np.empty((len(ids), width), np.float32)
        for batch, batch_ids, out in self._batches(ids, types, output, batch_size):
            rows[batch] = first_tokens(out, batch_ids) if output == "hidden" else out
        return rows

    def _token_logits(self, batch_size: int) -> Forward:
        """A function: token ids and types of sequences -> logits of each (tokens, labels)."""
        _check_batch_size(batch_size)

        def forward(ids: Sequence[Ids], types: Sequence[Ids]) -> list[Floats]:
            rows = [np.empty((0, len(self.labels)), np.float32)] * len(ids)
            for batch, batch_ids, out in self._batches(ids, types, "logits", batch_size):
                ends = np.cumsum([len(x) for x in batch_ids])
                for i, row in zip(batch, np.split(out, ends[:-1]), strict=True):
                    rows[i] = row
            return rows

        return forward

    def _batches(
        self, ids: Sequence[Ids], types: Sequence[Ids], output: str, batch_size: int
    ) -> Iterator[tuple[list[int], list[Ids], Floats]]:
        """Which sequences are in each batch, their token ids, and what the engine gives for them."""
        order = longest_first(ids)
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            batch_ids, batch_types = [ids[i] for i in batch], [types[i] for i in batch]
            yield batch, batch_ids, self.engine.forward(batch_ids, batch_types, output=output, threads=self.threads)

    def _prediction(self, probabilities: NDArray[np.float64]) -> Prediction:
        scores = dict(zip(self.labels, probabilities.tolist(), strict=True))
        best = self.labels[int(probabilities.argmax())]
        return Prediction(best, scores[best], scores)


def longest_first(ids: Sequence[Ids]) -> list[int]:
    """Order in which batches hold sequences of similar length, and memory is at its largest at once."""
    return sorted(range(len(ids)), key=lambda i: len(ids[i]), reverse=True)


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ModelError(f"batch_size must be 1 or more, not {batch_size}")


def first_tokens(hidden: Floats, ids: Sequence[Ids]) -> Floats:
    """(all tokens, H) -> (texts, H)."""
    return np.take(hidden, np.cumsum([0, *map(len, ids[:-1])]), axis=0)


def _labels(config: Mapping[str, Any], count: int) -> list[str]:
    """Names of the labels by number, as Hugging Face calls those that have none."""
    names = {int(key): str(value) for key, value in (config.get("id2label") or {}).items()}
    return [names.get(i, f"LABEL_{i}") for i in range(count)]


def _softmax(logits: Floats) -> NDArray[np.float64]:
    """(texts, labels) -> probabilities in float64, each row by itself."""
    e = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))
