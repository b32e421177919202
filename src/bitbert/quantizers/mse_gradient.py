"""MKQ-BERT's step size (Tang et al. 2022): it follows the rounding error of its own tensor, not the loss of the task.

With q = clamp(round(x / s), low, high) and Q(x) = s q, away from ties dQ/ds = q, so the squared error of the elements
that share s has the gradient

    G(s) = d/ds sum (Q(x) - x)^2 = 2 sum (Q(x) - x) q

which takes the place of dL/ds; of an embedding table only the rows in the batch count. (The paper's derivation leaves
clipping out.) The sum has no common measure with other gradients, so their norms cannot be clipped together. That of x
is g on the grid and 0 beyond its ends. What is learned here is the range alpha = n s, n being the largest code, so that
one learning rate suits all widths: dE/dalpha = G(s) / n.

Weights start at max|w| over the largest code. Activations start with the range that 0.01 % of the calibration sample
exceed, on the symmetric grid -n..n (the printed one, up to 2^(b-1), does not fit in b bits), or with a zero point.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bitbert.quantizers.base import MIN_SCALE, ActivationQuantizer, Units, WeightQuantizer
from bitbert.quantizers.observer import SampleObserver
from bitbert.quantizers.ste import Grid, Quantized, TensorFunction
from bitbert.spec import ActivationSpec, WeightSpec

BEYOND = 1e-4  # share of the sample that the first range of an activation leaves out


class MSEGradientWeight(WeightQuantizer):
    """The range alpha is a parameter per unit."""

    learned = True

    def __init__(self, spec: WeightSpec, groups: Sequence[tuple[int, int]], leftovers: torch.dtype) -> None:
        """Start at range 1; `initialize` fits it."""
        super().__init__(spec, groups, leftovers)
        self.alpha = nn.Parameter(torch.ones(self.num_units))

    def parameters_of(self, weight: Tensor, units: Units, high: Tensor) -> tuple[Tensor, ...]:
        """(step size,) per unit, alpha / n."""
        return (self.stored_scale(self.alpha / high.clamp(min=1), high),)

    def encode(self, weight: Tensor, grid: Grid, dtype: torch.dtype, *parameters: Tensor) -> Tensor:
        """Round to nearest."""
        return RoundByError.run(weight, parameters[0].clamp(min=MIN_SCALE), grid, dtype)

    @torch.no_grad()
    def initialize(self, weight: Tensor) -> None:
        """alpha = max|w| of each unit."""
        self.alpha.copy_(self.units.amax(weight.abs()))
        self.clamp_()

    @torch.no_grad()
    def clamp_(self) -> None:
        """Keep every alpha positive; called after each optimizer step."""
        self.alpha.clamp_(min=MIN_SCALE * self.bound)


class MSEGradientActivation(ActivationQuantizer):
    """The range alpha is a parameter; the zero point, if there is one, stays as calibrated."""

    def __init__(self, spec: ActivationSpec, kind: str, leftovers: torch.dtype) -> None:
        """Start at range 1; calibration fits it."""
        super().__init__(spec, kind, leftovers)
        self.alpha = nn.Parameter(torch.ones(1))
        self.observer = SampleObserver()

    def observe(self, x: Tensor) -> None:
        """Keep a sample of the batch."""
        self.observer.add(x)

    @torch.no_grad()
    def finish_calibration(self) -> None:
        """The range that `BEYOND` of the sample exceed, on each side where there is a zero point."""
        sample = self.observer.take()
        if self.fits_zero_point:
            low, high = -_exceeded(-sample).clamp(min=0), _exceeded(sample).clamp(min=0)
            self.alpha.copy_(high - low)
            self.clamp_()
            self.zero_point.copy_((-low / self.alpha * self.levels).round().clamp(0, self.levels).squeeze())
        else:
            self.alpha.copy_(_exceeded(sample.abs()))
            self.clamp_()

    @torch.no_grad()
    def clamp_(self) -> None:
        """Keep alpha positive; called after each optimizer step."""
        self.alpha.clamp_(min=MIN_SCALE * self.levels)

    def quantize(self, x: Tensor, dtype: torch.dtype) -> Quantized:
        """Codes with the step size alpha / n."""
        scale = self.stored_scale(self.alpha / self.levels)
        return Quantized(RoundByError.run(x, scale, self.grid(), dtype), scale.detach(), self.bound)


class RoundByError(TensorFunction):
    """codes = nearest grid point to x / scale; the gradients are those at the top of this file."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, grid: Grid, dtype: torch.dtype) -> Tensor:
        """`x` of any shape, `scale` broadcasting against it; codes in `dtype`."""
        ctx.save_for_backward(x, scale)
        ctx.grid = grid
        return grid.nearest(x.float() * scale.reciprocal()).to(dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x and scale; only that of x depends on the one that comes in."""
        x, scale = ctx.saved_tensors
        t = x.float() * scale.reciprocal()
        inside = (t >= ctx.grid.low) & (t <= ctx.grid.high)
        codes = ctx.grid.nearest(t)
        slope = 2 * (codes * scale - x.float()) * codes
        return (grads[0] * inside).to(x.dtype), slope.sum_to_size(scale.shape), None, None


def _exceeded(sample: Tensor) -> Tensor:
    """What `BEYOND` of the sample exceed."""
    return sample.kthvalue(len(sample) - int(BEYOND * len(sample))).values
