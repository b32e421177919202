"""What a search may spend, in the units that users know, and what each choice takes of it.

Prices are whole numbers of a small unit: bytes of the file, bits of the weights, or nanoseconds. What no choice changes
is `fixed`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from bitbert.errors import SearchError
from bitbert.search.size import byte_prices, fixed_bytes
from bitbert.search.space import Bits, Space

WITHIN = 0.01  # how far under a budget of bytes or bits the result may be

Values = NDArray[np.float64]
Unit = Literal["MiB", "average bits", "ms"]


@dataclass(frozen=True)
class Prices:
    """`values` (items, choices), `fixed` beside them, and how many of them make one unit of the budget."""

    values: Values
    fixed: float
    per_unit: float


class Clock(Protocol):
    """Whoever can run models: `bitbert.bench.price`."""

    def prices(self, space: Space) -> Prices:
        """Nanoseconds of a forward pass that each choice takes."""

    def measure(self, space: Space, bits: Bits) -> float:
        """Milliseconds of a forward pass with these widths (items)."""


@dataclass(frozen=True)
class Budget:
    """At most `limit`: MiB of model.safetensors, bits on average over the matrices, or ms of a forward pass.

    `clock` is for a budget in ms.
    """

    unit: Unit
    limit: float
    clock: Clock | None = None

    def prices(self, space: Space) -> Prices:
        """What each choice takes; raises `SearchError` for a budget that no assignment meets, or that all do."""
        prices = self._prices(space)
        self._check(prices, space)
        return prices

    def left(self, prices: Prices) -> tuple[float, float]:
        """(least, most) that the choices may take together; least is 0 for times, which are no promise."""
        most = self.limit * prices.per_unit - prices.fixed
        least = self.limit * prices.per_unit * (1 - WITHIN) - prices.fixed
        return (0.0 if self.unit == "ms" else max(least, 0.0)), most

    def _prices(self, space: Space) -> Prices:
        if self.unit == "MiB":
            return Prices(byte_prices(space), fixed_bytes(space), 2.0**20)
        if self.unit == "ms":
            assert self.clock is not None
            return self.clock.prices(space)
        in_matrices = np.array([0 if item.is_table else item.weights for item in space.items])
        return Prices(np.outer(in_matrices, space.choices).astype(np.float64), 0.0, float(in_matrices.sum()))

    def _check(self, prices: Prices, space: Space) -> None:
        smallest = _extreme(np.where(space.allowed, prices.values, np.inf).min(axis=1), prices)
        largest = _extreme(prices.values.max(axis=1), prices)
        if self.limit < smallest:
            lever = "raise it, or give the embeddings fewer bits" if self.unit == "MiB" else "raise it"
            wanted = f"a budget of {self.limit:g} {self.unit}"
            raise SearchError(f"{wanted} cannot be met, the smallest possible is {smallest:.4g}: {lever}")
        if self.unit != "ms" and self.limit * (1 - WITHIN) > largest:
            raise SearchError(
                f"a budget of {self.limit:g} {self.unit} needs no search: with every weight at {space.choices[-1]} bits"
                f" it is {largest:.4g} already"
            )


def _extreme(by_item: Values, prices: Prices) -> float:
    return float(by_item.sum() + prices.fixed) / prices.per_unit
