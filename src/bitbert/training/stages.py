"""One stage of training, begun or resumed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.trainer_utils import get_last_checkpoint

from bitbert.recipes.schema import Stage
from bitbert.training.trainer import QuantTrainer, arguments


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
) -> dict[str, Any]:
    """Train `model` in place; checkpoints go to `work`, and one that is there already is where the run goes on.

    Returns the resolved stage, steps, final mean loss and seconds of this run.
    """
    work.mkdir(parents=True, exist_ok=True)
    trainer = QuantTrainer(
        model, stage, arguments(stage, work, seed, report_to=report_to), train, tokenizer, teacher=teacher, title=title
    )
    started = time.perf_counter()
    result = trainer.train(resume_from_checkpoint=get_last_checkpoint(str(work)))
    return {
        "stage": stage.model_dump(),
        "steps": result.global_step,
        "loss": result.training_loss,
        "seconds": round(time.perf_counter() - started, 1),
        "bfloat16": trainer.args.bf16,
    }
