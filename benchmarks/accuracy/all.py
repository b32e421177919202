"""Every cell of the accuracy table; `run.py` measures each.

    python benchmarks/accuracy/all.py --teachers teachers --data-dir data

`teachers` holds a directory for each task, called `TASK` or `TASK-teacher`. Cells that are done are skipped, so a run
that was stopped may be started again; started twice, two run beside each other, since a cell that another process is
at is left to it. A cell that fails does not stop the others. At the end the table is written.
"""

from __future__ import annotations

import argparse
import fcntl
import fnmatch
import subprocess
import sys
from pathlib import Path

from run import Cell
from table import CORE, write_table

BREADTH = (("qnli", None), ("squad", 10_000), ("cola", None), ("wnut17", None))
SEARCHED = ("sst2", "mrpc")
AVERAGES = (2.47, 1.97)  # bits of the matrices: what AQ-BERT's 25 and 20 MB are of a BERT-base

HOUSE = ("w8a8", "w4a8", "w4a4", "w2a8", "w1a8", "w1a4", "w1a1")
# Stages of all these take as many steps together as the house recipe of their width; mkq at w8a8 as that of w4a4.
PAPERS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("q8bert", "w8a8", ()),
    ("q8bert-dynamic", "w8a8", ()),
    ("kdlsq", "w4a8", ()),
    ("kdlsq", "w2a8", ()),
    ("mkq", "w8a8", ()),
    ("mkq", "w4a4", ("last_layers=null",)),
    ("two-stage", "w2a8", ()),
    ("one-stage-ternary", "w2a8", ()),
    ("two-stage-binary", "w1a8", ()),
    ("binary-without-ternary", "w1a8", ()),
    ("direct-binary", "w1a8", ()),
    ("two-stage-binary", "w1a4", ()),
)

CELLS = (
    *(Cell(task, bits, bits, seed, part) for seed in (1, 2) for bits in HOUSE for task, part in CORE.items()),
    *(Cell(task, recipe, bits, 1, part, settings) for recipe, bits, settings in PAPERS for task, part in CORE.items()),
    # Half the layers at 4 bits as mkq has them, by the house recipe for 4 bits, which takes as many steps.
    *(Cell(task, "w4a4", "w8a8", 1, part, ("last_layers.bits=w4a4",)) for task, part in CORE.items()),
    *(Cell("mrpc", "kdlsq", bits, 1) for bits in ("w3a8", "w5a8", "w6a8")),
    *(Cell("sst2", "ptq", bits, 1, calibrate_only=True) for bits in ("w8a8", "w4a8")),
    *(
        Cell(task, "w2a8", "w2a8", 1, CORE[task], widths=widths, average_bits=average)
        for widths in ("sensitivity", "random", "aq")
        for average in AVERAGES
        for task in SEARCHED
    ),
    # Beyond what 1 bit everywhere gives: pruned, in 2.8 MiB.
    *(Cell(task, "w1a8", "w1a8", 1, CORE[task], widths="sensitivity", average_bits=0.9) for task in SEARCHED),
    *(Cell(task, bits, bits, 1, part) for bits in ("w8a8", "w2a8") for task, part in BREADTH),
    *(Cell("sst2", "kdlsq", bits, seed, 16_000) for seed in (2, 3) for bits in ("w2a8", "w4a8")),
    *(Cell("sst2", "q8bert", "w8a8", seed) for seed in (1, 2, 3)),
    *(Cell("cola", recipe, bits, 1) for recipe, bits in (("q8bert", "w8a8"), ("kdlsq", "w4a8"), ("kdlsq", "w2a8"))),
    *(Cell("sst2", "kdlsq", bits, 1, settings=("epochs=1",)) for bits in ("w2a8", "w4a8")),
)


def teacher(directory: Path, task: str) -> Path:
    suffixed = directory / f"{task}-teacher"
    return suffixed if suffixed.is_dir() else directory / task


def run(cell: Cell, options: argparse.Namespace) -> bool:
    """Measure one cell in a process of its own, so that none inherits memory or threads. False if it failed."""
    places = ["--teacher", teacher(options.teachers, cell.task), "--data-dir", options.data_dir]
    command = [sys.executable, Path(__file__).with_name("run.py"), *cell.arguments, *places, "--models", options.models]
    options.models.mkdir(parents=True, exist_ok=True)
    with open(options.models / f"{cell.name}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{cell.name}: another process is at it", file=sys.stderr)
            return True
        # The lock is the process's, too, and ends with it, however that ends.
        return subprocess.run(command, pass_fds=[lock.fileno()]).returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teachers", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--models", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--list", action="store_true", help="only say what is done and what is not")
    parser.add_argument("--only", default="*", help="a pattern on names of cells, such as 'mrpc-*'")
    options = parser.parse_args()
    cells = [cell for cell in CELLS if fnmatch.fnmatchcase(cell.name, options.only)]
    if options.list:
        print("\n".join(f"{'done' if cell.result.exists() else '    '} {cell.name}" for cell in cells))
        return 0
    failed = [cell.name for cell in cells if not run(cell, options)]
    write_table()
    print(f"failed: {', '.join(failed)}" if failed else "no cell is left to start", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
