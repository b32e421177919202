"""What all quantizers share: units that have one scale, grids, scales rounded to file precision.

A method (one file each) says where its scale comes from, how a number becomes a code and which gradients flow; nothing
here knows models or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from bitbert.quantizers.ste import Grid, Quantized, Rounding, round_to_dtype
from bitbert.spec import ActivationSpec, WeightSpec, activation_grid, code_range

# Scales stay above this. Float16 still holds it (as a subnormal number), and no tensor of a trained encoder comes near.
MIN_SCALE = 2.0**-20


@dataclass(frozen=True)
class Units:
    """Which rows of a matrix share one scale: all of them, each its own, or row groups (`group_of_row` given)."""

    granularity: str
    group_of_row: Tensor | None = None
    count: int = 1

    def sum(self, x: Tensor) -> Tensor:
        """(rows, columns) -> (units): sum over the elements of each unit."""
        if self.granularity == "tensor":
            return x.sum().reshape(1)
        rows = x.sum(dim=1)
        return rows if self.group_of_row is None else rows.new_zeros(self.count).index_add_(0, self.group_of_row, rows)

    def amax(self, x: Tensor) -> Tensor:
        """(rows, columns) -> (units): largest element of each unit."""
        if self.granularity == "tensor":
            return x.amax().reshape(1)
        rows = x.amax(dim=1)
        if self.group_of_row is None:
            return rows
        return rows.new_full((self.count,), -torch.inf).scatter_reduce_(0, self.group_of_row, rows, "amax")

    def mean(self, x: Tensor) -> Tensor:
        """(rows, columns) -> (units): mean over the elements of each unit."""
        return self.sum(x) / self.sum(torch.ones_like(x[:, :1]).expand_as(x))

    def expand(self, per_unit: Tensor) -> Tensor:
        """(units) -> (1, 1) or (rows, 1), to broadcast against the matrix."""
        per_row = per_unit if self.group_of_row is None else per_unit[self.group_of_row]
        return per_row[:, None]


class WeightQuantizer(nn.Module):
    """Turns a weight matrix (rows, columns) into codes and scales.

    Subclasses define `parameters_of` (a scale per unit, and what else decides the code) and `encode`. `groups` lists
    (first row, number of rows) of the row groups; scales are rounded to `leftovers`, the dtype of the file.
    """

    learned = False
    high_of_group: Tensor
    odd_of_group: Tensor
    group_of_row: Tensor

    def __init__(self, spec: WeightSpec, groups: Sequence[tuple[int, int]], leftovers: torch.dtype) -> None:
        """Set up grid and units; the number of rows is where the last group ends."""
        super().__init__()
        self.spec, self.leftovers = spec, leftovers
        bits = spec.bits_of(len(groups))
        ranges = [code_range(b, spec.grid) for b in bits]
        self.bound = max(high for _, high, _ in ranges)
        self.register_buffer("high_of_group", torch.tensor([float(high) for _, high, _ in ranges]), persistent=False)
        self._prunes = 0 in bits
        odd = [step == 2 for _, _, step in ranges]
        self.register_buffer("odd_of_group", torch.tensor(odd), persistent=False)
        self._all_odd = all(odd)
        group_of_row = torch.repeat_interleave(torch.tensor([count for _, count in groups]))
        self.register_buffer("group_of_row", group_of_row, persistent=False)

    @property
    def units(self) -> Units:
        """What shares a scale in the whole matrix."""
        grouped = self.spec.granularity == "row_group"
        return Units(self.spec.granularity, self.group_of_row if grouped else None, len(self.high_of_group))

    @property
    def num_units(self) -> int:
        """Number of scales."""
        return {"tensor": 1, "row": len(self.group_of_row), "row_group": len(self.high_of_group)}[self.spec.granularity]

    def high_of_unit(self) -> Tensor:
        """(units): the largest code of each unit; 0 where it is pruned."""
        return self._of_unit(self.high_of_group)

    def is_binary_unit(self) -> Tensor:
        """(units): whether -1 and 1 are all its codes."""
        return self._of_unit(self.odd_of_group & (self.high_of_group == 1))

    def _of_unit(self, of_group: Tensor) -> Tensor:
        if self.spec.granularity == "tensor":
            return of_group[:1]
        return of_group if self.spec.granularity == "row_group" else of_group[self.group_of_row]

    def grid(self, ids: Tensor | None = None) -> Grid:
        """The grid, by row where widths are mixed; `ids` picks rows."""
        if self.spec.group_bits is None:
            return Grid(-self.bound, self.bound, self._all_odd)
        group = self.group_of_row if ids is None else self.group_of_row[ids]
        high = self.high_of_group[group][:, None]
        return Grid(-high, high, self.odd_of_group[group][:, None])

    def stored_scale(self, scale: Tensor, high: Tensor) -> Tensor:
        """Positive, rounded to file precision, and 0 where `high` is 0 (pruned)."""
        return round_to_dtype(scale.clamp(min=MIN_SCALE), self.leftovers) * (high > 0)

    def kept(self, bias: Tensor) -> Tensor:
        """`bias` (rows), 0 in pruned rows, whose output is 0."""
        return bias * (self.high_of_group[self.group_of_row] > 0) if self._prunes else bias

    def parameters_of(self, weight: Tensor, units: Units, high: Tensor) -> tuple[Tensor, ...]:
        """(scale, ...) per unit, the scale first."""
        raise NotImplementedError

    def encode(self, weight: Tensor, grid: Grid, dtype: torch.dtype, *parameters: Tensor) -> Tensor:
        """Codes of `weight` in `dtype`; `parameters` as from `parameters_of`, expanded to rows."""
        raise NotImplementedError

    def forward(self, weight: Tensor, dtype: torch.dtype = torch.float32) -> Quantized:
        """Codes (rows, columns) and scale, (1, 1) or (rows, 1)."""
        parameters = self.parameters_of(weight, self.units, self.high_of_unit())
        return self._quantized(weight, self.grid(), dtype, [self.units.expand(p) for p in parameters])

    def gather(self, table: Tensor, ids: Tensor, dtype: torch.dtype = torch.float32) -> Quantized:
        """Rows `ids` (any shape) of an embedding table, quantized; only these rows are touched where that is enough."""
        rows, flat = embedding(ids, table).flatten(0, -2), ids.flatten()
        if self.spec.granularity == "row" and not self.learned:
            high = self.high_of_group[self.group_of_row[flat]]
            parameters = [p[:, None] for p in self.parameters_of(rows, Units("row"), high)]
        else:
            whole = [self.units.expand(p) for p in self.parameters_of(table, self.units, self.high_of_unit())]
            parameters = [p if len(p) == 1 else p[flat] for p in whole]
        codes, scale, bound = self._quantized(rows, self.grid(flat), dtype, parameters)
        scale = scale if len(scale) == 1 else scale.reshape(*ids.shape, 1)
        return Quantized(codes.reshape(*ids.shape, -1), scale, bound)

    def _quantized(self, weight: Tensor, grid: Grid, dtype: torch.dtype, parameters: Sequence[Tensor]) -> Quantized:
        return Quantized(self.encode(weight, grid, dtype, *parameters), parameters[0].detach(), self.bound)

    def initialize(self, weight: Tensor) -> None:
        """Set learned scales from the weight; nothing to do where they are computed."""

    @torch.no_grad()
    def freeze(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """int8 codes (rows, columns) and float32 scales (units), as `forward` uses them."""
        scale = self.parameters_of(weight, self.units, self.high_of_unit())[0]
        return self(weight).codes.to(torch.int8), scale


class FloatWeight(nn.Module):
    """A weight that stays float: codes are the numbers themselves, scale 1."""

    def forward(self, weight: Tensor, dtype: torch.dtype = torch.float32) -> Quantized:
        """`weight` cast to `dtype`."""
        return as_codes(weight, dtype)

    def gather(self, table: Tensor, ids: Tensor, dtype: torch.dtype = torch.float32) -> Quantized:
        """Rows `ids` of an embedding table, cast to `dtype`."""
        return as_codes(embedding(ids, table), dtype)

    def kept(self, bias: Tensor) -> Tensor:
        """All of it."""
        return bias


class ActivationQuantizer(nn.Module):
    """Turns an activation (..., features) into codes and a scale.

    While `calibrating` it passes numbers through and shows them to `observe`; `finish_calibration` then sets the range.
    `kind` is the activation's kind in the spec.
    """

    zero_point: Tensor
    tensor = ""  # name in the spec, once it is part of a model

    def __init__(self, spec: ActivationSpec, kind: str, leftovers: torch.dtype) -> None:
        """Set up the grid of `bitbert.spec.activation_grid`."""
        super().__init__()
        self.spec, self.kind, self.leftovers = spec, kind, leftovers
        self.code_grid = activation_grid(spec, kind)
        self.fits_zero_point = not spec.symmetric and kind != "probs"
        self.register_buffer("zero_point", torch.tensor(float(self.code_grid.zero_point)))
        self.calibrating = False

    @property
    def levels(self) -> int:
        """Codes from zero to the top: n of a symmetric grid, 2^b - 1 of one with a zero point."""
        return self.code_grid.high - (0 if self.fits_zero_point else self.code_grid.zero_point)

    @property
    def bound(self) -> int:
        """Largest |code - zero_point|."""
        return self.levels

    def grid(self) -> Grid:
        """Codes with the zero point subtracted."""
        low, high = self.code_grid.low, self.code_grid.high
        if self.fits_zero_point:
            # Plain numbers are what the fused passes take; on a GPU they would have to be waited for.
            fitted = self.zero_point if self.zero_point.is_cuda else self.zero_point.item()
            return Grid(low - fitted, high - fitted)
        zero = self.code_grid.zero_point
        return Grid(low - zero, high - zero, self.code_grid.step == 2)

    def stored_scale(self, scale: Tensor) -> Tensor:
        """Positive and rounded to file precision."""
        return round_to_dtype(scale.clamp(min=MIN_SCALE), self.leftovers)

    def forward(self, x: Tensor, dtype: torch.dtype = torch.float32) -> Quantized:
        """Codes of `x` in `dtype` and their scale."""
        if self.calibrating:
            self.observe(x.detach())
            return as_codes(x, dtype)
        return self.quantize(x, dtype)

    def rounding(self) -> Rounding | None:
        """How numbers become codes, where that is known before they are seen; else None."""
        return None

    def quantize(self, x: Tensor, dtype: torch.dtype) -> Quantized:
        """Codes and scale once the range is known."""
        rounding = self.rounding()
        assert rounding is not None
        return Quantized(rounding(x, dtype), rounding.scale.detach(), self.bound)

    def observe(self, x: Tensor) -> None:
        """See one calibration batch."""

    def finish_calibration(self) -> None:
        """Set the range from what was observed."""


class FloatActivation(nn.Module):
    """An activation that stays float: codes are the numbers themselves, scale 1."""

    tensor = ""
    bound = 0

    def forward(self, x: Tensor, dtype: torch.dtype = torch.float32) -> Quantized:
        """`x` cast to `dtype`."""
        return as_codes(x, dtype)


def as_codes(x: Tensor, dtype: torch.dtype) -> Quantized:
    """A float tensor dressed as codes with scale 1; bound 0 says that they are not integers."""
    return Quantized(x.to(dtype), x.new_ones(1, dtype=torch.float32), 0)
