"""Fine-tuning in float: an encoder and a task -> the checkpoint that quantization starts from and compares with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from transformers import set_seed

from bitbert.checkpoint.atomic import new_directory
from bitbert.recipes.schema import Stage
from bitbert.training.data import TaskData, task_data
from bitbert.training.encode import default_length, digest, encode
from bitbert.training.estimate import announce
from bitbert.training.models import load_pretrained, load_tokenizer
from bitbert.training.quiet import quiet
from bitbert.training.stages import run_stage
from bitbert.training.work import check_free, disk_errors, work_directory


def finetune(
    model: str | Path,
    task: str | TaskData,
    output: str | Path,
    *,
    epochs: float = 3.0,
    batch_size: int = 32,
    learning_rate: float = 5e-5,
    max_length: int | None = None,
    seed: int = 42,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    report_to: str = "none",
    checkpoint_seconds: float | None = None,
    data_dir: Path | None = None,
    download: bool = False,
    work_dir: Path | None = None,
) -> dict[str, Any]:
    """Train a model with a head for the task on its train split and write it to `output` as a Hugging Face checkpoint.

    `model` is a local directory (a hub name with `download`). Returns what was done: settings, steps, loss, seconds. A
    run that was killed goes on from its last checkpoint with `resume`, to the same weights; there is one every
    `checkpoint_seconds` (default: as often as costs no more than a fiftieth of the time). `report_to="tensorboard"`
    writes events beside `output`, with `.runs` behind its name. Raises `BitbertError` for whatever the caller can mend.
    """
    output = Path(os.path.abspath(output))
    check_free(output, overwrite)
    data = task_data(task, data_dir=data_dir, download=download)
    set_seed(seed)
    tokenizer = load_tokenizer(model, download=download)
    tuned = load_pretrained(model, data.task, download=download)
    max_length = min(max_length or default_length(data.task), tuned.config.max_position_embeddings)
    train = encode(data.split("train"), data.task, tokenizer, max_length)
    stage = Stage(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, warmup=0.06)
    run = {"model": str(model), "task": data.task.name, "seed": seed, "max_length": max_length}
    settings = run | {"stage": stage.model_dump(), "data": digest(train)}
    if progress:
        announce("fine-tune", tuned, [stage], lambda copies: train, tokenizer, seed)
    with work_directory(output, work_dir, settings, resume=resume, overwrite=overwrite) as work:
        summary = run_stage(
            tuned,
            stage,
            train,
            tokenizer,
            work / "finetune",
            seed=seed,
            title="fine-tune" if progress else None,
            report_to=report_to,
            logs=output.with_name(output.name + ".runs"),
            checkpoint_seconds=checkpoint_seconds,
        )
        with new_directory(output, replace=overwrite) as partial, disk_errors(output), quiet():
            tuned.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
    return run | {"rows": len(data.split("train")), "output": str(output)} | summary
