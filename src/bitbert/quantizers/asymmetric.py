"""AQ-BERT's own weights (Zhao et al. 2021), to compare with: minimum to maximum of each of 128 runs of rows.

With q = (2^b - 1) / (max - min) over the run, code = round(q (w - min)) and value = code / q + min; the paper prints
the value without the minimum, which then would not be its own inverse. The gradient passes straight through. A run of a
BERT-base's square matrices has 6 rows, of its intermediate layer 24. Such weights have a zero point of their own
everywhere, which the file format and the engine do not know: they train, and cannot be packed.

>>> quantizer = AsymmetricWeight(WeightSpec(bits=2, method="asymmetric"), [(0, 1)], torch.float32)
>>> quantizer(torch.tensor([[1.0, 2.2, 2.8, 4.0]])).codes
tensor([[1., 2., 3., 4.]])
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import embedding

from bitbert.quantizers.base import MIN_SCALE, WeightQuantizer
from bitbert.quantizers.ste import Quantized, StraightThrough
from bitbert.spec import WeightSpec

RUNS = 128


class AsymmetricWeight(WeightQuantizer):
    """Its codes are the values themselves, with scale 1 and bound 0, as those of a weight that stays float."""

    levels: Tensor
    run_of_row: Tensor

    def __init__(self, spec: WeightSpec, groups: Sequence[tuple[int, int]], leftovers: torch.dtype) -> None:
        """Widths go by row groups, ranges by runs."""
        super().__init__(spec, groups, leftovers)
        bits = torch.tensor(spec.bits_of(len(groups)))[self.group_of_row]
        rows = len(self.group_of_row)
        self.register_buffer("levels", (2.0**bits - 1)[:, None], persistent=False)
        runs = torch.arange(rows) * min(RUNS, rows) // rows
        self.register_buffer("run_of_row", runs, persistent=False)

    def forward(self, weight: Tensor, dtype: torch.dtype = torch.float32) -> Quantized:
        """Values (rows, columns)."""
        w = weight.detach()
        low, high = self._ends(w)
        steps = ((high - low) / self.levels.clamp(min=1)).clamp(min=MIN_SCALE)
        values = (((w - low) / steps).round() * steps + low) * (self.levels > 0)
        return Quantized(StraightThrough.run(weight, values.to(dtype)), weight.new_ones(1, 1), 0)

    def gather(self, table: Tensor, ids: Tensor, dtype: torch.dtype = torch.float32) -> Quantized:
        """Values of rows `ids`."""
        codes, scale, bound = self(table, dtype)
        return Quantized(embedding(ids, codes), scale, bound)

    def _ends(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """(rows, 1) each: minimum and maximum of every row's run."""
        ends = []
        for rows, how, start in ((weight.amin(dim=1), "amin", torch.inf), (weight.amax(dim=1), "amax", -torch.inf)):
            of_run = rows.new_full((RUNS,), start).scatter_reduce_(0, self.run_of_row, rows, how)
            ends.append(of_run[self.run_of_row][:, None])
        return ends[0], ends[1]
