"""Computed ternary weights, TWN (Li et al. 2016), as TernaryBERT uses them (Zhang et al. 2020).

For each unit, with threshold d = 0.7 mean|w|:

    code = sign(w) where |w| > d, else 0        scale = mean of |w| over those with |w| > d

Both are recomputed at every step and get no gradient; that of w passes straight through.

>>> quantizer = TernaryWeight(WeightSpec(bits=2, method="ternary"), [(0, 1)], torch.float32)
>>> quantizer(torch.tensor([[0.1, -0.8, 0.6, 0.5]]))[:2]
(tensor([[ 0., -1.,  1.,  1.]]), tensor([[0.6333]]))
"""

from __future__ import annotations

import torch
from torch import Tensor

from bitbert.quantizers.base import Units, WeightQuantizer
from bitbert.quantizers.ste import Grid, StraightThrough
from bitbert.spec import WeightSpec as WeightSpec

THRESHOLD = 0.7


class TernaryWeight(WeightQuantizer):
    """Threshold and scale from the weights themselves."""

    def parameters_of(self, weight: Tensor, units: Units, high: Tensor) -> tuple[Tensor, ...]:
        """(scale, threshold) per unit."""
        magnitude = weight.detach().abs()
        threshold = THRESHOLD * units.mean(magnitude)
        kept = magnitude > units.expand(threshold)
        scale = units.sum(magnitude * kept) / units.sum(kept.to(magnitude.dtype)).clamp(min=1)
        return self.stored_scale(scale, high), threshold

    def encode(self, weight: Tensor, grid: Grid, dtype: torch.dtype, *parameters: Tensor) -> Tensor:
        """-1, 0 or 1."""
        codes = weight.detach().sign() * (weight.detach().abs() > parameters[1])
        codes = grid.clamp(codes)  # 0 where the row is pruned
        return StraightThrough.run(weight, codes.to(dtype))
