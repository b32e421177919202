"""What becomes of a quantized model, however it was made: a packed directory with its scores, sizes and model card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

import bitbert
from bitbert import machine as common
from bitbert.checkpoint.write import write
from bitbert.freeze import freeze
from bitbert.report.card import model_card
from bitbert.spec import QuantSpec
from bitbert.training.data import TaskData
from bitbert.training.evaluate import Run, agreement, evaluate, packed_run, score, torch_run
from bitbert.training.tasks import Task


def deliver(
    student: PreTrainedModel,
    spec: QuantSpec,
    tokenizer: PreTrainedTokenizerBase,
    source: str | Path,
    data: TaskData | None,
    report: dict[str, Any],
    output: Path,
    *,
    work: Path,
    overwrite: bool,
) -> dict[str, Any]:
    """Freeze `student`, measure it through the engine and write it to `output`; returns the report that is written.

    `source` is the float model that it was made from. Scores are of the held-out splits of `data`, if there are any.
    `report` says how it came about; added are `splits`, `bytes` and `machine`. `work` is a directory for what is needed
    on the way.
    """
    packed = freeze(student, spec)
    files = _tokenizer_files(tokenizer, work / "tokenizer")
    write(packed, work / "packed", files=files, overwrite=True)
    report = report | {
        "splits": _measure(work / "packed", student, tokenizer, source, data) if data else {},
        "bytes": _sizes(work / "packed", student),
        "machine": machine(),
    }
    files["README.md"] = model_card(packed, report).encode()
    write(packed, output, files=files, report=report, overwrite=overwrite)
    return report


def _measure(
    packed: Path,
    student: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    teacher: str | Path,
    data: TaskData,
) -> dict[str, Any]:
    """Per held-out split: scores through the engine; as `trained`, of the fake-quantized model in float32, with the
    percentage of texts that both give the same label or answer; as `float32`, of the model that it came from.
    """
    engine = packed_run(bitbert.load(packed), data.task)
    trained = torch_run(student, tokenizer, data.task)
    held_out = [name for name in data.splits if name != "train"]
    float32 = evaluate(teacher, data, held_out)
    return {
        name: _beside_trained(engine, trained, data.split(name), data.task) | {"float32": float32[name]}
        for name in held_out
    }


def _beside_trained(engine: Run, trained: Run, split: Dataset, task: Task) -> dict[str, Any]:
    scores, said = score(engine, split, task)
    trained_scores, trained_said = score(trained, split, task)
    same = {} if task.is_regression else {"agreement": agreement(said, trained_said)}
    return scores | {"trained": trained_scores | same}


def _sizes(packed: Path, model: PreTrainedModel) -> dict[str, Any]:
    """Bytes on disk of the tensors, and of the same parameters in float32."""
    size = (packed / "model.safetensors").stat().st_size
    stock = sum(p.numel() for name, p in model.named_parameters() if "quantizer" not in name)
    return {"model.safetensors": size, "float32_parameters": 4 * stock, "ratio": 4 * stock / size}


def _tokenizer_files(tokenizer: PreTrainedTokenizerBase, directory: Path) -> dict[str, bytes]:
    tokenizer.save_pretrained(directory)
    return {file.name: file.read_bytes() for file in sorted(directory.iterdir()) if file.is_file()}


def machine() -> dict[str, Any]:
    """What a figure was measured on, and torch's number of threads."""
    return common.machine(("torch", "transformers", "numpy", "tokenizers")) | {"threads": torch.get_num_threads()}
