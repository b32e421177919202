"""How long the table's packed models take, all of one task in one interleaved run, for the plot of accuracy.

    python benchmarks/accuracy/latency.py --models runs/accuracy --task sst2 --threads 2

The timing is that of `bitbert bench`. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from run import RESULTS

from bitbert.bench import setups
from bitbert.bench.records import commit, write_json
from bitbert.bench.rounds import Budget
from bitbert.bench.run import bench
from bitbert.bench.workload import parse_shapes, random_workload

TIMES = RESULTS.parent / "latency.json"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("runs/accuracy"), help="where run.py keeps packed models")
    parser.add_argument("--task", default="sst2")
    parser.add_argument("--shapes", default="1x32,32x128")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    names = [path.stem for path in sorted(RESULTS.glob(f"{options.task}-*-s1.json"))]
    packed = [setups.packed(options.models / name, options.threads, name=name) for name in names]
    config = packed[0].config
    shapes = parse_shapes(options.shapes, config["max_position_embeddings"])
    workloads = [random_workload(shape, config["vocab_size"]) for shape in shapes]
    report = bench(packed, workloads, Budget(), watch=lambda *done: print(*done, file=sys.stderr))
    times = {
        workload["name"]: {name: 1e3 * time["median"] for name, time in workload["times"].items()}
        for workload in report["workloads"]
    }
    about = {"unit": "ms", "threads": options.threads, "commit": commit(RESULTS.parent), "machine": report["machine"]}
    write_json(TIMES, {"task": options.task, **about, "times": times})
    print(json.dumps(times, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
