"""One stage of training, begun or resumed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets import Dataset
from safetensors.torch import load_model
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainerState
from transformers.integrations.integration_utils import TensorBoardCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.utils import SAFE_WEIGHTS_NAME

from bitbert.recipes.schema import Stage
from bitbert.training.checkpoints import Checkpoints, last_checkpoint
from bitbert.training.progress import ProgressBar
from bitbert.training.quiet import quiet
from bitbert.training.trainer import QuantTrainer, arguments
from bitbert.training.work import disk_errors

LOGS = 20  # entries at least in the history of a stage
LOGGING_STEPS = 50  # steps at most between two


def run_stage(
    model: PreTrainedModel,
    stage: Stage,
    train: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    work: Path,
    *,
    seed: int,
    teacher: PreTrainedModel | None = None,
    title: str | None = None,
    report_to: str = "none",
    logs: Path | None = None,
    checkpoint_seconds: float | None = None,
) -> dict[str, Any]:
    """Train `model` in place; checkpoints go to `work`, and one that is there already is where the run goes on.

    `title` names the run on its progress bar (None: no bar). `report_to` is that of `TrainingArguments`; TensorBoard's
    files go to `logs` unless its environment variable says otherwise. Returns the resolved stage, steps, seconds, and
    the mean loss of the last logged steps (about a twentieth of all, at most 50).
    """
    work.mkdir(parents=True, exist_ok=True)
    stage = stage.model_copy(update={"epochs": epochs_of(stage, len(train))})
    logging_steps = min(LOGGING_STEPS, max(1, steps_of(stage, len(train)) // LOGS))
    args = arguments(stage, work, seed, logging_steps=logging_steps, report_to=report_to)
    trainer = QuantTrainer(model, stage, args, train, tokenizer, teacher=teacher)
    trainer.add_callback(Checkpoints(checkpoint_seconds))
    _place_logs(trainer, logs)
    with quiet(), disk_errors(work), _shown(trainer, title):
        _train(trainer, model, last_checkpoint(work))
        # Else the model would go on computing in bfloat16: accelerate puts autocast into its forward.
        trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    history = trainer.state.log_history
    return {
        "stage": stage.model_dump(),
        "steps": trainer.state.global_step,
        "loss": [entry["loss"] for entry in history if "loss" in entry][-1],
        "seconds": round(history[-1]["seconds"], 1),
        "bfloat16": args.bf16,
    }


def _train(trainer: Trainer, model: PreTrainedModel, checkpoint: Path | None) -> None:
    """Train to the end, from the checkpoint if there is one."""
    state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME)) if checkpoint else TrainerState()
    if checkpoint and state.global_step >= state.max_steps:
        # `Trainer` would take a step more where a stage ends within an epoch.
        load_model(model, checkpoint / SAFE_WEIGHTS_NAME)
        trainer.state = state
        return
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


def epochs_of(stage: Stage, rows: int) -> float:
    """Epochs of a stage on so many rows."""
    return max(stage.epochs, stage.min_steps * stage.batch_size / rows)


def steps_of(stage: Stage, rows: int) -> int:
    """Optimizer steps of a stage on so many rows."""
    return math.ceil(rows / stage.batch_size * epochs_of(stage, rows))


def _place_logs(trainer: Trainer, logs: Path | None) -> None:
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback) and logs is not None:
            callback.logging_dir = callback.logging_dir or str(logs)


@contextmanager
def _shown(trainer: Trainer, title: str | None) -> Iterator[None]:
    """Show a progress bar; it leaves the terminal as it was also where training ends by an error or by Ctrl-C."""
    if title is None:
        yield
        return
    bar = ProgressBar(title)
    trainer.add_callback(bar)
    try:
        yield
    finally:
        bar.stop()
