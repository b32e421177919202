"""A quantized encoder as plain values: what training hands to the writer, and the reader to every engine.

Codes stay packed, as on disk; floats are float32. Names are those of a bare `BertModel` (`bitbert.spec`); the `bert.`
of other architectures exists on disk only. Nothing here knows files, and nothing computes with the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bitbert.checkpoint import packing
from bitbert.errors import CheckpointError, SpecError
from bitbert.spec import GROUP_ROWS, CodeGrid, QuantSpec, WeightSpec, activation_grid, row_groups, tensor_kind

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class PackedWeight:
    """One weight matrix: packed codes and scales; value = scale * code.

    `shape` is (output rows, columns); `head_dim` is set for Q, K and V, whose row groups stay inside one head. `packed`
    holds the bytes of `docs/format.md`, `scale` one float32 per tensor [1], row [rows] or row group [groups], 0 where
    pruned.
    """

    name: str
    spec: WeightSpec
    shape: tuple[int, int]
    head_dim: int | None
    packed: NDArray[np.uint8]
    scale: Floats

    @classmethod
    def from_codes(
        cls, name: str, spec: WeightSpec, codes: NDArray[np.int8], scale: Floats, head_dim: int | None = None
    ) -> Self:
        """Pack int8 codes (rows, columns); raises `CheckpointError` for codes off the grid or bad scales."""
        rows, columns = codes.shape
        empty = np.empty(0, np.uint8)
        weight = cls(name, spec, (rows, columns), head_dim, empty, np.ascontiguousarray(scale, np.float32))
        widths = weight.row_bits()
        try:
            packed = packing.pack(np.ascontiguousarray(codes, np.int8), widths, spec.grid, spec.packing)
        except CheckpointError as error:
            raise CheckpointError(f"{name}: {error}") from None
        weight = replace(weight, packed=packed)
        weight.check_scale()
        return weight

    def group_bits(self) -> NDArray[np.uint8]:
        """Width of each row group, [groups]."""
        try:
            return np.array(self.spec.bits_of(group_count(self.shape[0], self.head_dim)), np.uint8)
        except SpecError as error:
            raise CheckpointError(f"{self.name}: {error}") from None

    def row_bits(self) -> NDArray[np.uint8]:
        """Width of each row, [rows]."""
        return self._per_row(self.group_bits())

    def codes(self) -> NDArray[np.int8]:
        """All codes unpacked, int8 (rows, columns); pruned rows are zero."""
        return packing.unpack(self.packed, self.row_bits(), self.shape[1], self.spec.grid, self.spec.packing)

    def row_scale(self) -> Floats:
        """The scale of each row, float32 [rows]."""
        if self.spec.granularity == "row_group":
            return self._per_row(self.scale)
        return np.broadcast_to(self.scale, self.shape[:1])

    def check_codes(self) -> None:
        """Raise `CheckpointError` unless the packed bytes are codes of the grid."""
        try:
            packing.check(self.packed, self.row_bits(), self.shape[1], self.spec.grid, self.spec.packing)
        except CheckpointError as error:
            raise CheckpointError(f"{self.name} {error}") from None

    def check_scale(self) -> None:
        """Raise `CheckpointError` unless every scale is finite and positive, and 0 exactly where pruned."""
        if self.scale.shape != (expected := scale_shape(self.spec, self.shape[0], self.head_dim)):
            raise CheckpointError(f"{self.name}: scale has shape {self.scale.shape}, expected {expected}")
        pruned, scale = self.row_bits() == 0, self.row_scale()
        wrong = np.flatnonzero(~np.isfinite(scale) | np.where(pruned, scale != 0, scale <= 0))
        if len(wrong):
            row = wrong[0]
            allowed = "0, since it is pruned" if pruned[row] else "finite and positive"
            raise CheckpointError(f"{self.name}: the scale of row {row} is {scale[row]}, it must be {allowed}")

    def _per_row(self, per_group: NDArray[Any]) -> NDArray[Any]:
        return np.repeat(per_group, [count for _, count in row_groups(self.shape[0], self.head_dim)])


@dataclass(frozen=True)
class StaticScale:
    """Scale (a float32 value) and zero point of an activation: value = scale * (code - zero_point)."""

    scale: float
    zero_point: int


@dataclass(frozen=True, eq=False)
class PackedModel:
    """A whole quantized encoder.

    `config` is the Hugging Face config without `quantization_config`. `weights` are keyed by
    `bitbert.spec.weight_names`, `activations` by `activation_names` (those with a static scale only), `floats` by
    parameter name ("classifier.weight").
    """

    config: Mapping[str, Any]
    spec: QuantSpec
    weights: Mapping[str, PackedWeight]
    activations: Mapping[str, StaticScale]
    floats: Mapping[str, Floats]

    def grid(self, name: str) -> CodeGrid:
        """Codes of the activation called `name`, its stored zero point applied."""
        stored = self.activations.get(name)
        return code_grid(self.spec, name, stored.zero_point if stored else 0)


def code_grid(spec: QuantSpec, name: str, zero_point: int = 0) -> CodeGrid:
    """Codes of an activation: signed for keys and values, else bytes; `zero_point` counts where it is fitted only.

    >>> code_grid(QuantSpec(), "encoder.layer.0.attention.self.key.output")
    CodeGrid(low=-127, high=127, zero_point=0, step=1)
    """
    kind, activation = tensor_kind(name), spec.activation(name)
    grid = activation_grid(activation, kind)
    if kind in ("key", "value"):
        return replace(grid, low=grid.low - grid.zero_point, high=grid.high - grid.zero_point, zero_point=0)
    return replace(grid, zero_point=zero_point) if has_zero_point(spec, name) else grid


def has_zero_point(spec: QuantSpec, name: str) -> bool:
    """Whether the zero point of an activation is fitted: asymmetric, except probabilities, which start at 0."""
    return not spec.activation(name).symmetric and tensor_kind(name) != "probs"


def group_count(rows: int, head_dim: int | None) -> int:
    """Number of row groups, without listing them.

    >>> group_count(52, head_dim=26), group_count(40, None)
    (4, 3)
    """
    span = head_dim or rows
    return rows // span * -(-span // GROUP_ROWS)


def scale_shape(spec: WeightSpec, rows: int, head_dim: int | None) -> tuple[int]:
    """Shape of the scale of a weight, by its granularity."""
    return ({"tensor": 1, "row": rows, "row_group": group_count(rows, head_dim)}[spec.granularity],)
