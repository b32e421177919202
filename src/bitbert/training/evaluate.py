"""Scores of a model on labelled data: a packed directory through the engine, a float checkpoint through torch."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from transformers import DataCollatorWithPadding, PreTrainedModel, PreTrainedTokenizerBase

import bitbert
from bitbert.errors import ModelError
from bitbert.runtime.answers import MAX_ANSWER_TOKENS, answers
from bitbert.runtime.model import Model, longest_first
from bitbert.runtime.tags import Tagged, tags
from bitbert.runtime.windows import WINDOW, Forward
from bitbert.training.data import TaskData, task_data
from bitbert.training.encode import INPUTS, backend_windows, encode
from bitbert.training.models import load_finetuned, load_tokenizer
from bitbert.training.tasks import Task

Logits = NDArray[np.float32]
Outputs = Logits | list[str] | list[list[str]]
"""What a model says to the rows of a split: logits (texts, labels), answers to questions, or a label for each word."""
Run = Callable[[Dataset], Outputs]


def evaluate(
    model: str | Path,
    task: str | TaskData,
    splits: Sequence[str] = ("validation",),
    *,
    data_dir: Path | None = None,
    download: bool = False,
    threads: int | None = None,
    batch_size: int = 32,
    max_length: int | None = None,
) -> dict[str, dict[str, float]]:
    """Metrics (in points), number of texts and milliseconds per text (tokenizing included) on each split.

    `model` is a packed directory or a float checkpoint; `task` is a name or data that was loaded. Raises
    `ModelError`, `CheckpointError` or `DataError` for what cannot be used.
    """
    data = task_data(task, data_dir=data_dir, download=download)
    open_run = _packed if is_packed(model) else _float
    run = open_run(Path(model), data.task, threads, batch_size, max_length)
    return {name: score(run, data.split(name), data.task)[0] for name in splits}


def is_packed(model: str | Path) -> bool:
    """Whether a directory says of itself that it is quantized."""
    try:
        config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and "quantization_config" in config


def score(run: Run, split: Dataset, task: Task) -> tuple[dict[str, float], Outputs]:
    """What `run` says to the rows of a split, and before it the metrics of that with how long it took."""
    started = time.perf_counter()
    outputs = run(split)
    seconds = time.perf_counter() - started
    metrics = task.compute(outputs, _expected(split, task))
    return {**metrics, "texts": len(split), "ms_per_text": 1e3 * seconds / len(split)}, outputs


def _expected(split: Dataset, task: Task) -> Any:
    """What is right, as `Task.compute` takes it."""
    if task.kind == "tagging":
        return [[task.label_names[tag] for tag in tags] for tags in split["tags"]]
    return split["answers"][:] if task.kind == "answering" else split["label"]


def agreement(one: Outputs, other: Outputs) -> float:
    """Percentage of texts, questions or words that get the same label or answer from two models.

    >>> agreement(np.float32([[1, 0], [2, 3]]), np.float32([[4, 1], [3, 2]]))
    50.0
    >>> agreement([["O", "B-group"], ["O", "O"]], [["O", "O"], ["O", "O"]])
    75.0
    """
    pairs = zip(_said(one), _said(other), strict=True)
    return float(100.0 * np.mean([ours == theirs for ours, theirs in pairs]))


def _said(outputs: Outputs) -> list[Any]:
    """The label or answer of each text, question or word."""
    if isinstance(outputs, np.ndarray):
        return list(outputs.argmax(axis=1))
    return [said for row in outputs for said in ([row] if isinstance(row, str) else row)]


def packed_run(model: Model, task: Task, batch_size: int = 32) -> Run:
    """Split -> what the engine says to it. Raises `ModelError` if it has no head for the task."""

    if task.kind == "tagging" and model.task == "tagging" and set(model.labels) != set(task.label_names):
        names, wanted = ", ".join(model.labels), ", ".join(task.label_names)
        raise ModelError(f"the model tags words as {names}, but {task.name} needs {wanted}")

    def run(split: Dataset) -> Outputs:
        if task.kind == "answering":
            return [answer.text for answer in model.answers(_pairs(split), batch_size=batch_size)]
        if task.kind == "tagging":
            return _word_labels(model.tags(split["words"], batch_size=batch_size))
        texts = split["text"][:] if "text_pair" not in split.column_names else _pairs(split)
        return model.logits(texts, batch_size=batch_size)

    return run


def _pairs(split: Dataset) -> list[tuple[str, str]]:
    first, second = ("question", "context") if "question" in split.column_names else ("text", "text_pair")
    return list(zip(split[first], split[second], strict=True))


def _word_labels(tagged: Sequence[Tagged]) -> list[list[str]]:
    return [[word.label for word in one.words] for one in tagged]


def torch_run(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    *,
    batch_size: int = 32,
    max_length: int | None = None,
) -> Run:
    """Split -> what a torch model says to it in float32, in batches padded and sorted by length.

    Texts are cut at `max_length` tokens (default: as many as the model takes), windows have so many (default: 384).
    """
    positions = model.config.max_position_embeddings
    forward = _torch_forward(model, tokenizer, batch_size)
    cut = backend_windows(tokenizer, max_length or min(WINDOW, positions))

    def run(split: Dataset) -> Outputs:
        if task.kind == "answering":
            return [answer.text for answer in answers(_pairs(split), cut, forward, MAX_ANSWER_TOKENS)]
        if task.kind == "tagging":
            return _word_labels(tags(split["words"], task.label_names, cut, forward))
        encoded = encode(split, task, tokenizer, max_length or positions)
        ids, types = (encoded[name][:] for name in INPUTS[:2])
        return np.stack(forward(ids, types))

    return run


def _torch_forward(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_size: int) -> Forward:
    """A function: ids and types of sequences -> logits of each: (labels,), or of a head for tokens (tokens, labels)."""
    collate = DataCollatorWithPadding(tokenizer)

    @torch.inference_mode()
    def forward(ids: Sequence[Any], types: Sequence[Any]) -> list[Logits]:
        order, rows = longest_first(ids), [np.empty(0, np.float32)] * len(ids)
        model.eval()
        for start in range(0, len(order), batch_size):
            picked = order[start : start + batch_size]
            inputs = [
                {"input_ids": np.asarray(ids[i]).tolist(), "token_type_ids": np.asarray(types[i]).tolist()}
                for i in picked
            ]
            batch = collate(inputs)
            logits = _logits(model(**{name: x.to(model.device) for name, x in batch.items()}))
            for i, row in zip(picked, logits.float().cpu().numpy(), strict=True):
                rows[i] = row[: len(ids[i])] if logits.dim() == 3 else row
        return rows

    return forward


def _logits(output: Any) -> torch.Tensor:
    """(texts, labels), or for a head for tokens (texts, tokens, labels), start and end being labels."""
    if "start_logits" in output:
        return torch.stack([output.start_logits, output.end_logits], dim=-1)
    logits: torch.Tensor = output.logits
    return logits


def _packed(model: Path, task: Task, threads: int | None, batch_size: int, max_length: int | None) -> Run:
    return packed_run(bitbert.load(model, threads=threads, max_length=max_length), task, batch_size)


def _float(model: Path, task: Task, threads: int | None, batch_size: int, max_length: int | None) -> Run:
    if threads is not None:
        torch.set_num_threads(threads)
    tuned = load_finetuned(model, task)
    return torch_run(tuned, load_tokenizer(model), task, batch_size=batch_size, max_length=max_length)
