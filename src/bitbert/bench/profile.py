"""Where the engine's time goes: seconds by operation, summed over threads; medians over calls."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bitbert.bench.machine import machine
from bitbert.bench.summary import spread
from bitbert.bench.workload import Workload
from bitbert.checkpoint import read
from bitbert.runtime.engine import Engine
from bitbert.watch import Watch

Seconds = dict[str, float]


def profile(
    directory: Path,
    workloads: Sequence[Workload],
    *,
    threads: int,
    rounds: int,
    isa: str | None = None,
    watch: Watch = lambda *_: None,
) -> dict[str, Any]:
    """Time per operation of each workload; raises `BitbertError` if the directory or `isa` cannot be used."""
    engine = Engine(read(directory), isa)
    return {
        "threads": threads,
        "workloads": [_profiled(engine, workload, threads, rounds, watch) for workload in workloads],
        "machine": machine(isa),
    }


def _profiled(engine: Engine, workload: Workload, threads: int, rounds: int, watch: Watch) -> dict[str, Any]:
    _once(engine, workload, threads)  # warm-up
    calls = []
    for done in range(rounds):
        watch(f"profiling {workload.name}", done, rounds)
        calls.append(_once(engine, workload, threads))
    operations = {name: dataclasses.asdict(spread([call[name] for call in calls])) for name in calls[0]}
    return {"name": workload.name, "kind": workload.kind, "rounds": rounds, "operations": operations}


def _once(engine: Engine, workload: Workload, threads: int) -> Seconds:
    """Seconds by operation, of all batches together."""
    output = "pooled" if engine.architecture.pooler else "hidden"
    total: Seconds = {}
    for batch in workload.batches:
        for name, seconds in engine.profile(batch.ids, batch.types, output=output, threads=threads).items():
            total[name] = total.get(name, 0.0) + seconds
    return total
