"""Whether one recipe is better than another: a paired bootstrap over the texts that both were scored on.

    python benchmarks/accuracy/compare.py --data-dir DIR                      # all pairs, into comparisons.json
    python benchmarks/accuracy/compare.py --data-dir DIR w2a8 kdlsq w2a8      # one: ours, theirs, width

Both need cells of the same tasks, teachers, seeds, parts of train and optimizer steps (or theirs none) in `results/`; a
task for which there are none is left out. The difference is the mean over tasks of the mean over seeds of the score
(accuracy for MRPC); its interval is that of 2,000 resamplings of each task's texts, the same texts for both recipes and
all seeds (Koehn 2004). Where it contains 0 the verdict is "no difference".
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from all import AVERAGES, PAPERS
from run import RESULTS, scored_on, with_splits_together
from table import COMPARISONS, CORE, method_of, metric_of, steps, write_table

from bitbert.bench.records import write_json
from bitbert.training.data import load_task
from bitbert.training.tasks import Task

RESAMPLINGS = 2_000
ROUNDING = 0.01  # by which numbers of steps may differ: stages and epochs are rounded to whole steps
# Ours, theirs, width: each house recipe beside every paper's of its width, then what the papers claim.
PAIRS = (
    *((bits, recipe, bits) for recipe, bits, _ in PAPERS if (recipe, bits) != ("mkq", "w8a8")),
    ("w4a4", "mkq", "w8a8"),  # half the layers at 4 bits
    ("two-stage", "one-stage-ternary", "w2a8"),
    ("two-stage-binary", "direct-binary", "w1a8"),
    ("two-stage-binary", "binary-without-ternary", "w1a8"),
    ("q8bert", "q8bert-dynamic", "w8a8"),
    *((f"{how} {bits}", f"random {bits}", "w2a8") for bits in AVERAGES for how in ("sensitivity", "aq")),
)


@dataclasses.dataclass(frozen=True)
class Texts:
    """A task's scored texts: what is right, and what each seed of either recipe said."""

    task: Task
    right: np.ndarray
    ours: list[np.ndarray]
    theirs: list[np.ndarray]

    def difference(self, picked: np.ndarray) -> float:
        """Mean score of ours minus theirs on the picked texts."""
        return self._score(self.ours, picked) - self._score(self.theirs, picked)

    def _score(self, outputs: Sequence[np.ndarray], picked: np.ndarray) -> float:
        right, metric = self.right[picked], metric_of(self.task.name, self.task.main_metric)
        if metric == "accuracy":  # as the task computes it, a hundred times as fast
            return float(np.mean([100 * np.mean(said[picked] == right) for said in outputs]))
        return float(np.mean([self.task.compute(said[picked], right)[metric] for said in outputs]))


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


def cells(method: str, bits: str, task: str) -> dict[tuple[str, int, int], list[Any]]:
    """Outputs of the cells of a method, by teacher, seed and optimizer steps."""
    found = {}
    for path in sorted(RESULTS.glob(f"{task}-*-{bits}-*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        if method_of(result) == method and result["max_train"] == CORE[task]:
            found[result["teacher"]["sha256"], result["seed"], steps(result)] = result["outputs"]
    return found


def texts_of(task: str, ours: str, theirs: str, bits: str, data_dir: Path) -> Texts | None:
    """What is needed of one task; only what both have counts: the same teacher and seed, as many steps or none."""
    pairs = [
        (our, their)
        for (*same, count), our in cells(ours, bits, task).items()
        for (*other, other_count), their in cells(theirs, bits, task).items()
        if same == other and (other_count == 0 or math.isclose(count, other_count, rel_tol=ROUNDING))
    ]
    if not pairs:
        return None
    data = with_splits_together(load_task(task, data_dir=data_dir))
    split = data.split(scored_on(data))
    ours_said, theirs_said = ([np.array(outputs) for outputs in side] for side in zip(*pairs, strict=True))
    return Texts(data.task, np.array(split["label"]), ours_said, theirs_said)


def verdict(ours: str, theirs: str, bits: str, data_dir: Path) -> dict[str, Any]:
    """The comparison over all core tasks that both have."""
    found = {task: texts_of(task, ours, theirs, bits, data_dir) for task in CORE}
    there = {task: texts for task, texts in found.items() if texts is not None}
    about = {"ours": ours, "theirs": theirs, "bits": bits, "tasks": list(there)}
    return about | (compare(list(there.values())) if there else {"verdict": "not measured"})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pair", nargs="*", metavar="OURS THEIRS WIDTH", help="default: all pairs of the table")
    parser.add_argument("--data-dir", type=Path, required=True)
    options = parser.parse_args()
    if len(options.pair) not in (0, 3):
        parser.error("a pair is given by three words: ours, theirs and the width, such as w2a8 kdlsq w2a8")
    if options.pair:
        print(json.dumps(verdict(*options.pair, options.data_dir)))
        return 0
    write_json(COMPARISONS, {"pairs": [verdict(*pair, options.data_dir) for pair in PAIRS]})
    write_table()
    return 0


if __name__ == "__main__":
    sys.exit(main())
