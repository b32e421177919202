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

from typing import Any

import torch
from torch import Tensor

from bitbert.quantizers.base import MIN_SCALE
from bitbert.quantizers.ranges import RangeActivation, RangeWeight
from bitbert.quantizers.ste import Grid, Quantized, TensorFunction

BEYOND = 1e-4  # share of the sample that the first range of an activation leaves out


class MSEGradientWeight(RangeWeight):
    """Weights that are beyond the range get no gradient."""

    def encode(self, weight: Tensor, grid: Grid, dtype: torch.dtype, *parameters: Tensor) -> Tensor:
        """Round to nearest."""
        return RoundByError.run(weight, parameters[0].clamp(min=MIN_SCALE), grid, dtype)

    @torch.no_grad()
    def initialize(self, weight: Tensor) -> None:
        """alpha = max|w| of each unit."""
        self.alpha.copy_(self.units.amax(weight.abs()))
        self.clamp_()


class MSEGradientActivation(RangeActivation):
    """Calibration leaves out `BEYOND` of the sample, on each side where there is a zero point."""

    def ends(self, sample: Tensor) -> tuple[Tensor, Tensor]:
        """What `BEYOND` of the sample are below, and what they exceed."""
        return -_exceeded(-sample), _exceeded(sample)

    def top(self, sample: Tensor) -> Tensor:
        """What `BEYOND` of |sample| exceed."""
        return _exceeded(sample.abs())

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
