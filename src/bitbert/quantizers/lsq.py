"""Learned step size quantization, LSQ (Esser et al. 2020, arXiv 1902.08153).

Q(x) = s * clamp(round(x / s), low, high). The gradient of x is masked outside the grid. That of s is sum g *
(round(x/s) - x/s) inside and g * low or g * high outside, times 1/sqrt(N * Qp) with N the number of elements that share
s and Qp the largest code, so that s and x learn at comparable rates. Start: s = 2 mean|x| / sqrt(Qp). The grid here is
the symmetric one of the engine (-Qp..Qp, no -2^(b-1)).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bitbert.quantizers.base import MIN_SCALE, ActivationQuantizer, Units, WeightQuantizer
from bitbert.quantizers.observer import SampleObserver
from bitbert.quantizers.ste import Grid, Rounding, ScaleGradient
from bitbert.spec import ActivationSpec, WeightSpec


class LSQWeight(WeightQuantizer):
    """The step size is a parameter per unit."""

    learned = True

    def __init__(self, spec: WeightSpec, groups: Sequence[tuple[int, int]], leftovers: torch.dtype) -> None:
        """Start at step 1; `initialize` fits it."""
        super().__init__(spec, groups, leftovers)
        self.step = nn.Parameter(torch.ones(self.num_units))

    def parameters_of(self, weight: Tensor, units: Units, high: Tensor) -> tuple[Tensor, ...]:
        """(step,) per unit, with the scaled gradient."""
        elements = self.units.sum(torch.ones_like(weight[:, :1])) * weight.shape[1]
        factor = (elements * high.clamp(min=1)).rsqrt()
        return (self.stored_scale(ScaleGradient.run(self.step, factor), high),)

    def encode(self, weight: Tensor, grid: Grid, dtype: torch.dtype, *parameters: Tensor) -> Tensor:
        """Round to nearest; masked outside the grid."""
        return Rounding(parameters[0].clamp(min=MIN_SCALE), grid, True, True)(weight, dtype)

    @torch.no_grad()
    def initialize(self, weight: Tensor) -> None:
        """s = 2 mean|w| / sqrt(Qp) for each unit."""
        self.step.copy_(2 * self.units.mean(weight.abs()) / self.high_of_unit().clamp(min=1).sqrt())
        self.clamp_()

    @torch.no_grad()
    def clamp_(self) -> None:
        """Keep every step positive; called after each optimizer step."""
        self.step.clamp_(min=MIN_SCALE)


class LSQActivation(ActivationQuantizer):
    """The step size is a parameter. N counts the numbers of a calibration batch, since batches vary."""

    elements: Tensor

    def __init__(self, spec: ActivationSpec, kind: str, leftovers: torch.dtype) -> None:
        """Start at step 1; calibration fits it."""
        super().__init__(spec, kind, leftovers)
        self.step = nn.Parameter(torch.ones(1))
        self.register_buffer("elements", torch.tensor(1.0))
        self.observer = SampleObserver()

    def observe(self, x: Tensor) -> None:
        """Keep a sample of the batch."""
        self.elements.fill_(x.numel())
        self.observer.add(x)

    @torch.no_grad()
    def finish_calibration(self) -> None:
        """s = 2 mean|x| / sqrt(Qp); with a zero point 4 mean|x - min| / sqrt(Qp), and the minimum falls on code 0."""
        sample = self.observer.take()
        if self.fits_zero_point:
            low = sample.min().clamp(max=0)
            self.step.copy_(4 * (sample - low).mean() / self.levels**0.5)
            self.zero_point.copy_((-low / self.step).round().clamp(0, self.levels).squeeze())
        else:
            self.step.copy_(2 * sample.abs().mean() / self.levels**0.5)
        self.clamp_()

    @torch.no_grad()
    def clamp_(self) -> None:
        """Keep the step positive; called after each optimizer step."""
        self.step.clamp_(min=MIN_SCALE)

    def rounding(self) -> Rounding | None:
        """To the learned step, unless it is being calibrated."""
        if self.calibrating:
            return None
        scale = self.stored_scale(ScaleGradient.run(self.step, (self.elements * self.levels) ** -0.5))
        return Rounding(scale, self.grid(), clip_gradient=True, learned=True)
