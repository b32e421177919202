"""Whether one recipe is better than another: a paired bootstrap over the texts that both were scored on.

    python benchmarks/accuracy/compare.py --data-dir DIR w2a8 kdlsq --bits w2a8 --task sst2 --task mrpc --task stsb

Both need cells of the same tasks, seeds, parts of train and optimizer steps in `results/`. The difference is the mean
over tasks of the mean over seeds of the score (accuracy for MRPC); its interval is that of 2,000 resamplings of each
task's texts, the same texts for both recipes and all seeds (Koehn 2004). Where it contains 0 the verdict is "no
difference".
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from run import RESULTS, scored_on, with_splits_together
from table import steps

from bitbert.training.data import load_task
from bitbert.training.tasks import Task

RESAMPLINGS = 2_000
METRIC = {"mrpc": "accuracy"}


@dataclasses.dataclass(frozen=True)
class Texts:
    """A task's scored texts: what is right, and what each seed of either recipe said."""

    task: Task
    right: list[Any]
    ours: list[list[Any]]
    theirs: list[list[Any]]

    def difference(self, picked: np.ndarray) -> float:
        """Mean score of ours minus theirs on the picked texts."""
        return self._score(self.ours, picked) - self._score(self.theirs, picked)

    def _score(self, outputs: Sequence[list[Any]], picked: np.ndarray) -> float:
        right = [self.right[i] for i in picked]
        metric = METRIC.get(self.task.name, self.task.main_metric)
        return float(np.mean([self.task.compute([said[i] for i in picked], right)[metric] for said in outputs]))


def compare(tasks: Sequence[Texts], seed: int = 0) -> dict[str, Any]:
    """Difference in points, its 95 % interval, and the verdict."""
    rng = np.random.default_rng(seed)
    whole = float(np.mean([texts.difference(np.arange(len(texts.right))) for texts in tasks]))
    resampled = [
        np.mean([texts.difference(rng.integers(len(texts.right), size=len(texts.right))) for texts in tasks])
        for _ in range(RESAMPLINGS)
    ]
    low, high = (float(x) for x in np.percentile(resampled, [2.5, 97.5]))
    verdict = "no difference" if low <= 0 <= high else "better" if whole > 0 else "worse"
    return {"difference": whole, "interval": [low, high], "verdict": verdict}


def cells(recipe: str, options: argparse.Namespace, task: str) -> dict[tuple[int, int], list[Any]]:
    """Outputs of the recipe's cells, by seed and optimizer steps."""
    found = {}
    for path in sorted(RESULTS.glob(f"{task}-{recipe}-{options.bits}-*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        if not result.get("widths") and result["max_train"] == options.max_train.get(task):
            found[result["seed"], steps(result)] = result["outputs"]
    return found


def texts_of(task: str, options: argparse.Namespace) -> Texts:
    """What is needed of one task; only what both recipes have counts: the same seeds with as many steps."""
    data = with_splits_together(load_task(task, data_dir=options.data_dir))
    split = data.split(scored_on(data))
    ours, theirs = (cells(recipe, options, task) for recipe in (options.ours, options.theirs))
    both = sorted(set(ours) & set(theirs))
    if not both:
        raise SystemExit(f"error: {task}: {options.ours} and {options.theirs} have no seed and steps in common")
    right = "answers" if data.task.kind == "answering" else "label"
    return Texts(data.task, list(split[right]), [ours[key] for key in both], [theirs[key] for key in both])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ours")
    parser.add_argument("theirs")
    parser.add_argument("--bits", required=True, help="wXaY of both")
    parser.add_argument("--task", dest="tasks", action="append", required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    options = parser.parse_args()
    options.max_train = {"sst2": 16_000}
    result = compare([texts_of(task, options) for task in options.tasks])
    print(json.dumps({"ours": options.ours, "theirs": options.theirs, "bits": options.bits} | result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
