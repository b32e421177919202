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
from bitbert.runtime.model import Model
from bitbert.training.data import TaskData, task_data
from bitbert.training.encode import encode
from bitbert.training.models import load_finetuned, load_tokenizer
from bitbert.training.tasks import Task

Logits = NDArray[np.float32]
Run = Callable[[Dataset], Logits]


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

    `model` is a packed directory or a float checkpoint; `task` is a GLUE name or data that was loaded. Raises
    `ModelError`, `CheckpointError` or `DataError` for what cannot be used.
    """
    data = task_data(task, data_dir=data_dir, download=download)
    logits = _packed_logits if is_packed(model) else _float_logits
    run = logits(Path(model), data.task, threads, batch_size, max_length)
    return {name: score(run, data.split(name), data.task)[0] for name in splits}


def is_packed(model: str | Path) -> bool:
    """Whether a directory says of itself that it is quantized."""
    try:
        config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and "quantization_config" in config


def score(run: Run, split: Dataset, task: Task) -> tuple[dict[str, float], Logits]:
    """The logits that `run` gives for the texts of a split, and before them their metrics with how long it took."""
    started = time.perf_counter()
    logits = run(split)
    seconds = time.perf_counter() - started
    metrics = task.compute(logits, split["label"])
    return {**metrics, "texts": len(split), "ms_per_text": 1e3 * seconds / len(split)}, logits


def agreement(one: Logits, other: Logits) -> float:
    """Percentage of texts that get the same label from logits (texts, labels) of two models.

    >>> agreement(np.float32([[1, 0], [2, 3]]), np.float32([[4, 1], [3, 2]]))
    50.0
    """
    return float(100.0 * np.mean(one.argmax(axis=1) == other.argmax(axis=1)))


def packed_run(model: Model, batch_size: int = 32) -> Run:
    """Split -> logits through the engine."""

    def run(split: Dataset) -> Logits:
        texts: list[Any] = list(split["text"])
        if "text_pair" in split.column_names:
            texts = list(zip(texts, split["text_pair"], strict=True))
        return model.logits(texts, batch_size=batch_size)

    return run


def torch_run(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    *,
    batch_size: int = 32,
    max_length: int = 512,
) -> Run:
    """Split -> logits of a torch model in float32, batches padded and sorted by length."""
    collate = DataCollatorWithPadding(tokenizer)

    @torch.inference_mode()
    def run(split: Dataset) -> Logits:
        rows = encode(split, task, tokenizer, max_length)
        order = np.argsort(rows["length"], kind="stable")[::-1]
        rows = rows.remove_columns(["labels", "length"])
        logits = np.empty((len(rows), task.num_labels), np.float32)
        model.eval()
        for start in range(0, len(rows), batch_size):
            picked = order[start : start + batch_size]
            batch = collate([rows[int(i)] for i in picked])
            outputs = model(**{name: x.to(model.device) for name, x in batch.items()})
            logits[picked] = outputs.logits.float().cpu().numpy()
        return logits

    return run


def _packed_logits(model: Path, task: Task, threads: int | None, batch_size: int, max_length: int | None) -> Run:
    return packed_run(bitbert.load(model, threads=threads, max_length=max_length), batch_size)


def _float_logits(model: Path, task: Task, threads: int | None, batch_size: int, max_length: int | None) -> Run:
    if threads is not None:
        torch.set_num_threads(threads)
    classifier = load_finetuned(model, task)
    positions = classifier.config.max_position_embeddings
    return torch_run(classifier, load_tokenizer(model), task, batch_size=batch_size, max_length=max_length or positions)
