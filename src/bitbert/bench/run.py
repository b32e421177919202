"""Contenders and workloads -> a report in plain values: who ran, who was left out and why, every time taken."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bitbert.bench.contenders import CONTENDERS, ENGINE, FLOAT32, Setup
from bitbert.bench.machine import machine
from bitbert.bench.process import Process
from bitbert.bench.rounds import Budget, RacerError, interleave
from bitbert.bench.setups import sizes
from bitbert.bench.summary import ratios, spread
from bitbert.bench.workload import Workload
from bitbert.errors import ModelError
from bitbert.watch import Watch

INSTALL = "pip install 'bitbert[bench]'"

T = TypeVar("T")


def bench(
    setups: Sequence[Setup], workloads: Sequence[Workload], budget: Budget, watch: Watch = lambda *_: None
) -> dict[str, Any]:
    """Time every contender on every workload, all in turn; ratios are to the first, which is one of bitbert's.

    A peer that is not installed or fails is named in `left_out`, and the others go on. Raises `ModelError` if it is
    bitbert's own engine that fails, since nothing is left to compare then.
    """
    about = {"threads": setups[0].threads, "machine": machine(setups[0].isa)}
    with ExitStack() as stack:
        field = _Field(watch)
        field.build(setups, stack)
        timed = [field.time(workload, budget) for workload in workloads]
    return about | {"contenders": list(field.built.values()), "left_out": field.left_out, "workloads": timed}


class _Field:
    """The contenders that are still in the race, what is known of all that began it, and who is not in it and why."""

    def __init__(self, watch: Watch) -> None:
        self.racing: list[Process] = []
        self.built: dict[str, dict[str, Any]] = {}
        self.left_out: list[dict[str, str]] = []
        self._watch = watch

    def build(self, setups: Sequence[Setup], stack: ExitStack) -> None:
        """Start and build one contender after the other; those that cannot be are left out."""
        for done, setup in enumerate(setups):
            self._watch(f"building {setup.name}", done, len(setups))
            if missing := CONTENDERS[setup.contender].missing():
                self._leave_out(setup, f"{', '.join(missing)} not installed: {INSTALL}")
                continue
            self.racing.append(process := stack.enter_context(Process(setup)))
            for how in self._each([process], Process.build).values():
                self.built[setup.name] = _about(setup, how)

    def time(self, workload: Workload, budget: Budget) -> dict[str, Any]:
        """Load, warm up, check the answers, race."""
        self._watch(f"warming up {workload.name}", 0, budget.rounds)
        self._each(self.racing, lambda process: process.load(workload))
        self._compare(self._each(self.racing, lambda process: process.answer(0)))
        seconds = interleave(
            self.racing,
            len(workload.batches),
            budget,
            on_round=lambda done: self._watch(workload.name, done, budget.rounds),
            on_failure=self._fail,
        )
        return _timed(workload, seconds)

    def _each(self, processes: Sequence[Process], do: Callable[[Process], T]) -> dict[str, T]:
        """Do something with each, one after the other; whoever cannot is left out."""
        results = {}
        for process in list(processes):
            try:
                results[process.name] = do(process)
            except RacerError as error:
                self._fail(process, error)
        return results

    def _fail(self, process: Process, error: RacerError) -> None:
        if process.setup.contender == ENGINE:
            raise ModelError(f"{process.name}: {error}")
        self.racing.remove(process)
        self._leave_out(process.setup, str(error))

    def _leave_out(self, setup: Setup, reason: str) -> None:
        self.left_out.append({"name": setup.name, "reason": reason})

    def _compare(self, answers: dict[str, list[list[float]]]) -> None:
        """Note the lowest cosine so far of each answer to that of PyTorch in float32 with the same weights."""
        setups = [process.setup for process in self.racing]
        references = [setup for setup in setups if setup.contender == FLOAT32]
        for setup in setups:
            for reference in references:
                if setup is not reference and _same_weights(setup, reference):
                    found = cosine(answers[setup.name], answers[reference.name])
                    about = self.built[setup.name]
                    about["cosine_to_float32"] = min(found, about["cosine_to_float32"] or 1.0)


def _about(setup: Setup, how: str) -> dict[str, Any]:
    weights = setup.directory or setup.floats
    return {
        "name": setup.name,
        "contender": setup.contender,
        "how": how,
        "environment": dict(setup.environment),
        "sizes": sizes(setup.config),
        "weights": Path(weights).name if weights else "random",
        "spec": setup.spec,
        "cosine_to_float32": None,
    }


def _same_weights(setup: Setup, reference: Setup) -> bool:
    """Whether the outputs should be alike: a packed model has the peers' weights only if it was made from them."""
    if setup.contender == ENGINE and setup.floats is None:
        return False
    return setup.floats == reference.floats and sizes(setup.config) == sizes(reference.config)


def cosine(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> float:
    """Mean cosine of the rows of two outputs.

    >>> cosine([[1.0, 0.0], [1.0, 1.0]], [[2.0, 0.0], [1.0, 1.0]])
    1.0
    """
    a, b = np.array(one), np.array(other)
    products = (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return round(float(products.mean()), 6)


def _timed(workload: Workload, seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Figures of one workload; a `ratio` says how many times as long as the first contender."""
    compared = ratios(seconds, next(iter(seconds)))
    return {
        "name": workload.name,
        "kind": workload.kind,
        "batches": len(workload.batches),
        "sequences": workload.sequences,
        "tokens": workload.tokens,
        "rounds": len(next(iter(seconds.values()))),
        "times": {
            name: {
                **dataclasses.asdict(spread(values)),
                "ratio": dataclasses.asdict(compared[name]),
                "sequences_per_second": workload.sequences / spread(values).median,
                "seconds": values,
            }
            for name, values in seconds.items()
        },
    }
