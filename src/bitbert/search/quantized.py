"""A trained float matrix at some width, with the steps that fit it best: what a search compares with the original.

>>> change(torch.tensor([[0.9, -1.1, 0.1]]), 2, [(0, 1)])  # ternary, with a step of 1
tensor([[ 0.1000,  0.1000, -0.1000]])
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bitbert.quantizers.lsq import LSQWeight
from bitbert.spec import WeightSpec

CANDIDATES = 32  # steps that are tried, 5 to 10 % apart: there the squared error is flat

Groups = Sequence[tuple[int, int]]


@torch.no_grad()
def change(
    weight: Tensor, bits: int, groups: Groups, *, grid: str = "mid_tread", granularity: str = "row_group"
) -> Tensor:
    """What quantizing to `bits` adds to each weight, (rows, columns); `groups` as `spec.row_groups` gives them."""
    spec = WeightSpec(bits=bits, method="lsq", grid=grid, granularity=granularity)
    quantizer = LSQWeight(spec, groups, torch.float32).to(weight.device)
    quantizer.step.copy_(best_steps(quantizer, weight))
    return _value(quantizer, weight) - weight


@torch.no_grad()
def best_steps(quantizer: LSQWeight, weight: Tensor) -> Tensor:
    """(units): of `CANDIDATES` steps the one with the smallest squared error; those of `quantizer` are overwritten.

    They put the largest code between half the root mean square of a unit and its largest weight.
    """
    units, high = quantizer.units, quantizer.high_of_unit()
    low = units.mean(weight.square()).sqrt().clamp(min=torch.finfo(weight.dtype).tiny) / 2
    ratio = (units.amax(weight.abs()) / low).clamp(min=1)
    best, least = low / high, torch.full_like(low, torch.inf)
    for exponent in torch.linspace(0, 1, CANDIDATES).tolist():
        quantizer.step.copy_(low * ratio**exponent / high)
        quantizer.clamp_()
        error = units.sum((_value(quantizer, weight) - weight).square_())
        best, least = torch.where(error < least, quantizer.step, best), torch.minimum(error, least)
    return best


def _value(quantizer: LSQWeight, weight: Tensor) -> Tensor:
    """`weight` as codes times scale."""
    codes, scale, _ = quantizer(weight)
    value: Tensor = codes * scale
    return value
