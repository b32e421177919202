"""How near a recipe comes to the float model, on a part of the training split that it does not see.

    python benchmarks/accuracy/choose.py --task sst2 --recipe w4a4 --bits w4a4 --rows 8000 --set epochs=2 \\
        --teacher unseen/sst2 --base minilm --data-dir DIR

This is what the settings of the house recipes were chosen by (docs/recipes.md): validation and test take no part. The
measure is the divergence of the answers from the float model's (half the squared distance for a regression). `--base`
fine-tunes a float model on the other rows alone, once, into `--teacher`: one that was trained on the slice knows its
labels by heart, and the divergence from it favours what brings a student nearer to labels. One line of JSON on standard
output.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bitbert
from bitbert.search.divergence import divergence
from bitbert.training.data import TaskData, load_task
from bitbert.training.evaluate import packed_run, torch_run
from bitbert.training.models import load_finetuned, load_tokenizer
from bitbert.training.tasks import Task

HELD_OUT, SHARE = 2000, 8  # rows of the slice, but no more than an eighth of all
TEACHER_ROWS, TEACHER_EPOCHS = 24_000, 3


def slices(data: TaskData, rows: int | None) -> tuple[TaskData, Any]:
    """(data to train on, with a few rows as validation; the slice), by a fixed permutation of the train split."""
    train = data.split("train")
    order = np.random.default_rng(0).permutation(len(train))
    held = min(HELD_OUT, len(train) // SHARE)
    kept, slice_ = order[:-held][:rows], train.select(order[-held:])
    splits = {"train": train.select(kept), "validation": slice_.select(range(32))}
    return dataclasses.replace(data, splits=splits), slice_


def compared(ours: Any, theirs: Any, right: list[Any], task: Task) -> dict[str, Any]:
    same = {} if task.is_regression else {"agreement": 100 * float((ours.argmax(1) == theirs.argmax(1)).mean())}
    return {
        "divergence": float(divergence(torch.from_numpy(ours), torch.from_numpy(theirs)).mean()),
        **same,
        "score": task.compute(ours, right)[task.main_metric],
        "float32": task.compute(theirs, right)[task.main_metric],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", required=True, help="a GLUE task: sst2, cola, mrpc, stsb, ...")
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--bits", required=True, help="wXaY")
    parser.add_argument("--rows", type=int, help="to train on; default: all but the slice")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="key=value, changes the recipe")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--teacher", type=Path, required=True, help="the float model")
    parser.add_argument("--base", type=Path, help="encoder to make it of, where it is not there yet")
    parser.add_argument("--data-dir", type=Path, required=True)
    given = parser.parse_args()
    whole = load_task(given.task, data_dir=given.data_dir)
    if given.base and not given.teacher.exists():
        bitbert.finetune(given.base, slices(whole, TEACHER_ROWS)[0], given.teacher, epochs=TEACHER_EPOCHS)
    data, slice_ = slices(whole, given.rows)
    with tempfile.TemporaryDirectory() as directory:
        packed = Path(directory) / "packed"
        how: dict[str, Any] = {"bits": given.bits, "recipe": given.recipe, "settings": given.settings}
        report = bitbert.quantize(given.teacher, data, packed, **how, seed=given.seed)
        ours = packed_run(bitbert.load(packed), data.task)(slice_)
    theirs = torch_run(load_finetuned(given.teacher, data.task), load_tokenizer(given.teacher), data.task)(slice_)
    assert isinstance(ours, np.ndarray)
    assert isinstance(theirs, np.ndarray)
    figures = compared(ours, theirs, list(slice_["label"]), data.task)
    about = {"task": given.task, "recipe": given.recipe, "bits": given.bits, "settings": given.settings}
    steps = [stage["steps"] for stage in report["stages"]]
    print(json.dumps({**about, "seed": given.seed, "steps": steps, **figures}), file=sys.stdout, flush=True)


if __name__ == "__main__":
    main()
