"""One cell of the accuracy table: quantize a teacher, score the result through the engine, write one JSON file.

    python benchmarks/accuracy/run.py --task sst2 --recipe kdlsq --bits w4a8 --seed 1 --max-train 16000 \\
        --teacher teachers/sst2 --data-dir data

Scores are of the final checkpoint, on validation and test together where the test split has labels: one metric over all
their texts. Beside the engine's score stand the teacher's and that of the fake-quantized model in float32 (`trained`).
With `--widths sensitivity --average-bits 2.47` (or `aq`, `random`) the matrices have mixed widths, see `mixes.py`.
With `--calibrate-only` nothing is trained: `--recipe ptq --bits w8a8 --calibrate-only`, on 512 of the training texts.
A cell whose result is there is skipped; one that was killed goes on from its last training checkpoint.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from datasets import concatenate_datasets
from mixes import best_at_random, found_by_search

import bitbert
from bitbert.bench.records import commit, write_json
from bitbert.errors import BitbertError
from bitbert.training.data import TaskData, load_task
from bitbert.training.evaluate import packed_run

RESULTS = Path(__file__).parent / "results"
CONTROLS = Path(__file__).parent / "recipes"
TOGETHER = "validation + test"


@dataclasses.dataclass(frozen=True)
class Cell:
    """What is measured: a task, a method, a width, a seed, the number of training rows (None: all), other settings.

    `calibrate_only` says that the method calibrates on a few training texts, without their labels. `widths` says how
    mixed widths are found, with so many bits on average; `bits` is then what the recipe is for.
    """

    task: str
    recipe: str
    bits: str
    seed: int
    max_train: int | None = None
    settings: tuple[str, ...] = ()
    calibrate_only: bool = False
    widths: str | None = None
    average_bits: float | None = None

    @property
    def name(self) -> str:
        part = "all" if self.max_train is None else self.max_train
        mixed = [f"{self.widths}{self.average_bits}"] if self.widths else []
        return "-".join([self.task, self.recipe, self.bits, *mixed, str(part), *self.settings, f"s{self.seed}"])

    @property
    def method(self) -> str | Path:
        """The recipe: a control of this benchmark, or one of the package."""
        control = CONTROLS / f"{self.recipe}.yaml"
        return control if control.exists() else self.recipe

    @property
    def result(self) -> Path:
        return RESULTS / f"{self.name}.json"

    @property
    def arguments(self) -> list[str]:
        part = [] if self.max_train is None else ["--max-train", str(self.max_train)]
        changes = [word for setting in self.settings for word in ("--set", setting)]
        cell = ["--task", self.task, "--recipe", self.recipe, "--bits", self.bits, "--seed", str(self.seed)]
        mixed = ["--widths", self.widths, "--average-bits", str(self.average_bits)] if self.widths else []
        return [*cell, *part, *changes, *mixed, *(["--calibrate-only"] if self.calibrate_only else [])]


def measure(cell: Cell, teacher: Path, data_dir: Path, models: Path) -> dict[str, Any]:
    """Train the cell and return its result; anew even where `models` holds one, as a recipe may have changed."""
    data = with_splits_together(load_task(cell.task, data_dir=data_dir, max_train=cell.max_train))
    packed = models / cell.name
    measured_at, mixed = commit(RESULTS.parent), {}
    how: dict[str, Any] = {"bits": cell.bits, "recipe": cell.method, "settings": cell.settings, "seed": cell.seed}
    if cell.widths:
        spec, mixed = find_widths(cell, teacher, data, models / f"{cell.name}-search")
        how |= {"bits": None, "spec": spec}
    if cell.calibrate_only:
        bitbert.calibrate_only(teacher, packed, task=data, **how, overwrite=True)
    else:
        bitbert.quantize(teacher, data, packed, **how, resume=True, overwrite=True)
    report = json.loads((packed / "report.json").read_text(encoding="utf-8"))
    outputs = packed_run(bitbert.load(packed), data.task)(data.split(scored_on(data)))
    found = {"search": mixed} if mixed else {}
    return summary(cell, data, report, teacher) | found | {"commit": measured_at, "outputs": compact(outputs)}


def find_widths(cell: Cell, teacher: Path, data: TaskData, directory: Path) -> tuple[Path, dict[str, Any]]:
    """The file of the spec, and what is told of it."""
    assert cell.average_bits is not None
    how = cell.average_bits, str(cell.method), teacher, data, cell.seed, directory
    return best_at_random(*how) if cell.widths == "random" else found_by_search(cell.widths, *how)


def with_splits_together(data: TaskData) -> TaskData:
    """The same data with one more split, validation and test after each other, in the place of test."""
    splits = dict(data.splits)
    if "test" in splits:
        splits[TOGETHER] = concatenate_datasets([splits["validation"], splits.pop("test")])
    return dataclasses.replace(data, splits=splits)


def scored_on(data: TaskData) -> str:
    """The split that counts."""
    return TOGETHER if TOGETHER in data.splits else "validation"


def compact(outputs: Any) -> Any:
    """What the engine said to each text, for comparisons text by text: classes, numbers, answers or labels of words."""
    if not isinstance(outputs, np.ndarray):
        return outputs
    return outputs.argmax(axis=1).tolist() if outputs.shape[1] > 1 else outputs[:, 0].round(4).tolist()


def summary(cell: Cell, data: TaskData, report: dict[str, Any], teacher: Path) -> dict[str, Any]:
    """The figures of a cell, and what is needed to get them again; names of directories are left out."""
    split = scored_on(data)
    scores, metric = report["splits"][split], data.task.main_metric
    stages = report.get("stages", [])
    seconds = report["seconds"] if cell.calibrate_only else sum(stage["seconds"] for stage in stages)
    return {
        **dataclasses.asdict(cell),
        "metric": metric,
        "scored_on": split,
        "texts": scores["texts"],
        "score": scores[metric],
        "teacher_score": scores["float32"][metric],
        "drop": scores["float32"][metric] - scores[metric],
        "trained_score": scores["trained"][metric],
        "agreement": scores["trained"].get("agreement"),
        "checkpoint": "final",
        "bytes": report["bytes"],
        "minutes": round(seconds / 60, 1),
        "train_rows": report["calibrated_on"] if cell.calibrate_only else report["rows"],
        "stages": stages,
        "splits": report["splits"],
        "teacher": {"name": teacher.resolve().name, "sha256": sha256(teacher / "model.safetensors")},
        "machine": report["machine"],
        "command": " ".join(
            ["python benchmarks/accuracy/run.py", *cell.arguments, "--teacher", teacher.name, "--data-dir", "DIR"]
        ),
    }


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", required=True, help="a GLUE task: sst2, cola, mrpc, stsb, ...")
    parser.add_argument("--recipe", required=True, help="of the package, or of recipes/")
    parser.add_argument("--bits", required=True, help="wXaY")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-train", type=int, help="train on this many rows, always the same ones")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="key=value, changes the recipe")
    parser.add_argument("--widths", choices=("sensitivity", "aq", "random"), help="mixed widths, found in this way")
    parser.add_argument("--average-bits", type=float, help="of the matrices, with --widths")
    parser.add_argument("--calibrate-only", action="store_true", help="train nothing; the recipe has no stages")
    parser.add_argument("--teacher", type=Path, required=True, help="directory that `bitbert finetune` wrote")
    parser.add_argument("--data-dir", type=Path, required=True, help="where DIR/TASK/train.parquet lies")
    parser.add_argument("--models", type=Path, default=Path("runs/accuracy"), help="where packed models are kept")
    given = parser.parse_args()
    method = given.recipe, given.bits, given.seed, given.max_train, tuple(given.settings), given.calibrate_only
    cell = Cell(given.task, *method, given.widths, given.average_bits)
    if cell.result.exists():
        print(f"{cell.name}: done already", file=sys.stderr)
        return 0
    try:
        result = measure(cell, given.teacher, given.data_dir, given.models)
    except BitbertError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    write_json(cell.result, result, on_one_line="outputs")
    print(f"{cell.name}: {result['metric']} {result['score']:.2f}, drop {result['drop']:.2f}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
