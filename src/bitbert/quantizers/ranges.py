"""What methods with a range as their parameter share: alpha > 0 per unit, and the step size s = alpha / n.

n is the largest code. A method says where alpha starts, how numbers are rounded and which gradient reaches alpha.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bitbert.quantizers.base import MIN_SCALE, ActivationQuantizer, Units, WeightQuantizer
from bitbert.quantizers.observer import SampleObserver
from bitbert.spec import ActivationSpec, WeightSpec


class RangeWeight(WeightQuantizer):
    """alpha is a parameter per unit."""

    learned = True

    def __init__(self, spec: WeightSpec, groups: Sequence[tuple[int, int]], leftovers: torch.dtype) -> None:
        """Start at range 1; `initialize` fits it."""
        super().__init__(spec, groups, leftovers)
        self.alpha = nn.Parameter(torch.ones(self.num_units))

    def parameters_of(self, weight: Tensor, units: Units, high: Tensor) -> tuple[Tensor, ...]:
        """(step size,) per unit, alpha / n."""
        return (self.stored_scale(self.alpha / high.clamp(min=1), high),)

    @torch.no_grad()
    def clamp_(self) -> None:
        """Keep every alpha positive; called after each optimizer step."""
        self.alpha.clamp_(min=MIN_SCALE * self.bound)


class RangeActivation(ActivationQuantizer):
    """alpha is a parameter; the zero point, if there is one, stays as calibrated."""

    def __init__(self, spec: ActivationSpec, kind: str, leftovers: torch.dtype) -> None:
        """Start at range 1; calibration fits it."""
        super().__init__(spec, kind, leftovers)
        self.alpha = nn.Parameter(torch.ones(1))
        self.observer = SampleObserver()

    def observe(self, x: Tensor) -> None:
        """Keep a sample of the batch."""
        self.observer.add(x)

    def ends(self, sample: Tensor) -> tuple[Tensor, Tensor]:
        """Where a grid with a zero point should begin and end."""
        raise NotImplementedError

    def top(self, sample: Tensor) -> Tensor:
        """How far a symmetric grid should reach."""
        raise NotImplementedError

    @torch.no_grad()
    def finish_calibration(self) -> None:
        """alpha (and the zero point) from the sample."""
        sample = self.observer.take()
        if self.fits_zero_point:
            low, high = self.ends(sample)
            low, high = low.clamp(max=0), high.clamp(min=0)
            self.alpha.copy_(high - low)
            self.zero_point.copy_((-low / (high - low).clamp(min=MIN_SCALE) * self.levels).round())
        else:
            self.alpha.copy_(self.top(sample))
        self.clamp_()

    @torch.no_grad()
    def clamp_(self) -> None:
        """Keep alpha positive; called after each optimizer step."""
        self.alpha.clamp_(min=MIN_SCALE * self.levels)
