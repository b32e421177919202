"""Who runs when: round robin, so that whatever slows the machine for a while slows everyone.

A *turn* is one batch, run by each racer once; a *round* is one turn for each batch of a workload. Every turn begins
with another racer, since whoever comes after a heavy one finds colder caches and a warmer chip.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

MIN_ROUNDS = 3  # fewer have no quartiles to speak of


class RacerError(Exception):
    """A racer that cannot run, with the reason on one line."""


class Racer(Protocol):
    """Whatever runs a batch and says how long it took."""

    name: str

    def run(self, batch: int) -> float:
        """Seconds that batch number `batch` took; raises `RacerError`."""


R = TypeVar("R", bound=Racer)
T = TypeVar("T")


@dataclass(frozen=True)
class Budget:
    """For one workload: `rounds` in all, but none is begun after `seconds` once there are `MIN_ROUNDS`."""

    rounds: int = 20
    seconds: float = 60.0


def interleave(
    racers: Sequence[R],
    batches: int,
    budget: Budget,
    *,
    on_round: Callable[[int], None],
    on_failure: Callable[[R, RacerError], None],
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, list[float]]:
    """Seconds of each round by racer; a racer that fails is reported, left out from there on and not in the result."""
    racing, began = list(racers), clock()
    rounds: list[dict[str, float]] = []
    while racing and len(rounds) < budget.rounds:
        if len(rounds) >= MIN_ROUNDS and clock() - began > budget.seconds:
            break
        totals = dict.fromkeys((racer.name for racer in racing), 0.0)
        for batch in range(batches):
            for racer in rotated(racing, len(rounds) * batches + batch):
                try:
                    totals[racer.name] += racer.run(batch)
                except RacerError as error:
                    racing.remove(racer)
                    on_failure(racer, error)
        rounds.append(totals)
        on_round(len(rounds))
    return {racer.name: [totals[racer.name] for totals in rounds] for racer in racing}


def rotated(racers: Sequence[T], turn: int) -> list[T]:
    """The order of a turn.

    >>> rotated("abc", 4)
    ['b', 'c', 'a']
    """
    first = turn % len(racers) if racers else 0
    return [*racers[first:], *racers[:first]]
