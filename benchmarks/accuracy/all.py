"""Every cell of the accuracy table; `run.py` measures each.

    python benchmarks/accuracy/all.py --teachers teachers --data-dir data

`teachers` holds a directory for each task, called `TASK` or `TASK-teacher`. Cells that are done are skipped, so a run
that was stopped may be started again. A cell that fails does not stop the others. At the end the table is written.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from run import Cell
from table import write_table

PART = 16_000  # rows of SST-2's training split, enough to compare methods and seeds
SMALL = ("mrpc", "cola", "stsb")
METHODS = (("kdlsq", "w2a8"), ("kdlsq", "w4a8"), ("q8bert", "w8a8"))

CELLS = (
    *(Cell("sst2", "kdlsq", bits, seed, PART) for seed in (1, 2, 3) for bits in ("w2a8", "w4a8")),
    *(Cell("sst2", "q8bert", "w8a8", seed) for seed in (1, 2, 3)),
    *(Cell(task, recipe, bits, 1) for task in SMALL for recipe, bits in METHODS),
    *(Cell("sst2", "kdlsq", bits, 1, settings=("epochs=1",)) for bits in ("w2a8", "w4a8")),
)


def teacher(directory: Path, task: str) -> Path:
    suffixed = directory / f"{task}-teacher"
    return suffixed if suffixed.is_dir() else directory / task


def run(cell: Cell, options: argparse.Namespace) -> bool:
    """Measure one cell in a process of its own, so that none inherits memory or threads of another."""
    places = ["--teacher", teacher(options.teachers, cell.task), "--data-dir", options.data_dir]
    command = [sys.executable, Path(__file__).with_name("run.py"), *cell.arguments, *places, "--models", options.models]
    return subprocess.run(command).returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teachers", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--models", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--list", action="store_true", help="only say what is done and what is not")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{'done' if cell.result.exists() else '    '} {cell.name}" for cell in CELLS))
        return 0
    failed = [cell.name for cell in CELLS if not run(cell, options)]
    write_table()
    print(f"failed: {', '.join(failed)}" if failed else f"all {len(CELLS)} cells are done", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
