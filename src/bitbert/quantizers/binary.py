"""Binary weights, BWN (Rastegari et al. 2016): w becomes sign(w) * mean|w| over its unit; sign(0) = +1.

The scale is recomputed at every step and gets no gradient; that of w passes straight through (XTC, Wu et al. 2022,
shows that this plain form is enough when trained for long).

>>> quantizer = BinaryWeight(WeightSpec(bits=1, method="binary"), [(0, 1)], torch.float32)
>>> quantizer(torch.tensor([[0.5, -1.5, 0.0]]))[:2]
(tensor([[ 1., -1.,  1.]]), tensor([[0.6667]]))
"""

from __future__ import annotations

import torch
from torch import Tensor

from bitbert.quantizers.base import Units, WeightQuantizer
from bitbert.quantizers.ste import Grid, StraightThrough
from bitbert.spec import WeightSpec as WeightSpec


class BinaryWeight(WeightQuantizer):
    """Scale from the weights themselves."""

    def parameters_of(self, weight: Tensor, units: Units, high: Tensor) -> tuple[Tensor, ...]:
        """(scale,) per unit."""
        return (self.stored_scale(units.mean(weight.detach().abs()), high),)

    def encode(self, weight: Tensor, grid: Grid, dtype: torch.dtype, *parameters: Tensor) -> Tensor:
        """-1 or 1."""
        return StraightThrough.run(weight, grid.nearest(weight.detach()).to(dtype))
