"""What a search assigns bits to: the row groups of every matrix, on request whole embedding tables, as one flat list.

Arrays of a search are (items, choices): `space.items[i]` at `space.choices[j]` bits. This file knows names, rows and
widths; not costs, prices or budgets.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bitbert.checkpoint.architecture import Architecture
from bitbert.errors import SearchError
from bitbert.spec import MAX_BITS, ONE_BIT_METHODS, Override, QuantSpec, row_groups, tensor_kind, weight_names

DEFAULT_CHOICES = (0, 2, 4, 8)
# Methods that can give 1 bit to some rows of a matrix; recipes for 1 bit everywhere have better than a learned range.
BINARY_ROWS = ("learned_range", *ONE_BIT_METHODS)

Bits = NDArray[np.int64]


@dataclass(frozen=True)
class Item:
    """`rows` rows of `columns` weights from row `first` on of the weight called `tensor`, which share one width."""

    tensor: str
    first: int
    rows: int
    columns: int
    is_table: bool = False

    @property
    def weights(self) -> int:
        """Number of weights."""
        return self.rows * self.columns


@dataclass(frozen=True)
class Space:
    """Everything that a search may choose; `base` says how all else is quantized, and by which methods."""

    config: Mapping[str, Any]
    base: QuantSpec
    choices: tuple[int, ...]
    items: tuple[Item, ...]

    @classmethod
    def of(
        cls,
        config: Mapping[str, Any],
        base: QuantSpec,
        choices: Sequence[int] = DEFAULT_CHOICES,
        embeddings: bool = False,
    ) -> Self:
        """Row groups of all linear layers and the pooler; with `embeddings` also each table, at one width.

        `config` is a Hugging Face config with `architectures`. Raises `SearchError` for choices that are none,
        `SpecError` for those that the methods of `base` cannot do.
        """
        _check(choices)
        architecture = Architecture.from_config(config)
        names = weight_names(architecture.num_hidden_layers, architecture.pooler)
        items = itertools.chain.from_iterable(_items(architecture, name, embeddings) for name in names)
        space = cls(config, base, tuple(sorted(choices)), tuple(items))
        for bits in space.choices:
            everywhere = space.spec(np.full(len(space.items), bits))
            everywhere.check_packable(architecture.num_hidden_layers, architecture.pooler)
        return space

    @cached_property
    def architecture(self) -> Architecture:
        """Sizes of the encoder."""
        return Architecture.from_config(self.config)

    @cached_property
    def allowed(self) -> NDArray[np.bool_]:
        """(items, choices): whether an item may have this width. A table is not pruned: every token needs its row."""
        is_table = np.array([item.is_table for item in self.items])
        forbidden: NDArray[np.bool_] = is_table[:, None] & (np.array(self.choices) == 0)
        return ~forbidden

    @cached_property
    def weights(self) -> NDArray[np.int64]:
        """(items): number of weights of each."""
        return np.array([item.weights for item in self.items])

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Where the items of each tensor stand in the list."""
        ends: dict[str, slice] = {}
        for i, item in enumerate(self.items):
            ends[item.tensor] = slice(ends[item.tensor].start if item.tensor in ends else i, i + 1)
        return ends

    def bits(self, chosen: NDArray[np.int64]) -> Bits:
        """(items): widths from indices of choices."""
        return np.array(self.choices)[chosen]

    def average_bits(self, bits: Bits) -> float:
        """Mean width of the weights of all matrices, embedding tables left out."""
        of_matrix = np.array([not item.is_table for item in self.items])
        return float((bits * self.weights)[of_matrix].sum() / self.weights[of_matrix].sum())

    def spec(self, bits: Bits) -> QuantSpec:
        """`base` with an override for each searched tensor; `bits` (items) in the order of the list."""
        overrides = [self._override(name, bits[where].tolist()) for name, where in self.slices.items()]
        return dataclasses.replace(self.base, overrides=(*self.base.overrides, *overrides))

    def granularity(self, name: str) -> str:
        """Of the scales of a searched tensor: the recipe's, but where widths may change there is no scale for all."""
        if tensor_kind(name).endswith("embedding"):
            return "row"
        return "row" if self.base.weight(name).granularity == "row" else "row_group"

    def _override(self, name: str, bits: list[int]) -> Override:
        changes: dict[str, Any] = {"group_bits": bits, "granularity": self.granularity(name)}
        if tensor_kind(name).endswith("embedding"):
            changes = {"bits": bits[0]}
        if 1 in bits and self.base.weight(name).method not in BINARY_ROWS:
            changes["method"] = "lsq"
        return Override(name, changes)


def _items(architecture: Architecture, name: str, embeddings: bool) -> list[Item]:
    rows, columns = architecture.weight_shape(name)
    if not tensor_kind(name).endswith("embedding"):
        groups = row_groups(rows, architecture.weight_head_dim(name))
        return [Item(name, first, count, columns) for first, count in groups]
    return [Item(name, 0, rows, columns, is_table=True)] if embeddings else []


def _check(choices: Sequence[int]) -> None:
    if len(set(choices)) != len(choices) or len(choices) < 2:
        raise SearchError(f"choices {list(choices)}: expected two or more different widths, such as 0,2,4,8")
    for bits in choices:
        if not 0 <= bits <= MAX_BITS:
            raise SearchError(f"choices {list(choices)}: {bits} bits are not supported, expected 0 to {MAX_BITS}")
