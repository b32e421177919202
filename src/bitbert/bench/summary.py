"""Seconds of many rounds -> a median and how far it spreads. No clock here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """Median with the quartiles around it."""

    median: float
    q1: float
    q3: float


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles, interpolated linearly between neighbours.

    >>> spread([4.0, 1.0, 2.0, 3.0])
    Spread(median=2.5, q1=1.75, q3=3.25)
    """
    q1, median, q3 = np.percentile(values, (25, 50, 75)).tolist()
    return Spread(median, q1, q3)


def ratio(seconds: Sequence[float], reference: Sequence[float]) -> Spread:
    """How many times as long as the reference, round by round: what slows a whole round cancels.

    >>> ratio([2.0, 9.0], [1.0, 3.0])
    Spread(median=2.5, q1=2.25, q3=2.75)
    """
    return spread([one / other for one, other in zip(seconds, reference, strict=True)])


def ratios(seconds: Mapping[str, Sequence[float]], reference: str) -> dict[str, Spread]:
    """The ratio of everyone to `reference`, itself included."""
    return {name: ratio(values, seconds[reference]) for name, values in seconds.items()}


def figure(value: float) -> str:
    """A number with three digits that count, or more; no further than the third decimal.

    >>> figure(0.12345), figure(1.2345), figure(1234.5)
    ('0.123', '1.23', '1234')
    """
    before_point = math.floor(math.log10(abs(value))) + 1 if value else 0
    return f"{value:.{min(3, max(0, 3 - before_point))}f}"
