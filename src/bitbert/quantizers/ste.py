"""The two gradients of rounding that every quantizer is built from, as autograd functions.

Both return integer *codes*, not values: a matrix product of codes is exact in bfloat16, and the scale is applied once
to its result. By convention the gradient that flows back into a codes tensor is that of the *value* `scale * codes`;
whoever consumes codes (`bitbert.layers.product`) hands back that one. So a quantizer sees dL/dvalue and decides what
becomes of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from bitbert.quantizers import fused


class Quantized(NamedTuple):
    """A tensor as integers times a scale: `value = codes * scale`.

    `codes` holds integers in a float dtype, any zero point already subtracted, of the tensor's shape; its gradient is
    the gradient of the value. `scale` broadcasts against `codes` and is detached. `bound` is the largest possible
    |code|.
    """

    codes: Tensor
    scale: Tensor
    bound: int

    @property
    def shape(self) -> torch.Size:
        """Shape of the tensor that is represented."""
        return self.codes.shape

    def transpose(self, first: int, second: int) -> Quantized:
        """Swap two dimensions; needs a scale for the whole tensor."""
        return Quantized(self.codes.transpose(first, second), self.scale, self.bound)

    def view(self, *shape: int) -> Quantized:
        """Another shape; needs a scale for the whole tensor."""
        return Quantized(self.codes.view(*shape), self.scale, self.bound)


class Grid(NamedTuple):
    """Integers that a code may take: `low..high`, or the odd ones of them where `mid_rise`.

    Plain numbers, or tensors that broadcast against the codes where the width changes from row to row.
    """

    low: float | Tensor
    high: float | Tensor
    mid_rise: bool | Tensor = False

    @property
    def is_plain(self) -> bool:
        """Whether every integer between two fixed ends is a code."""
        return self.mid_rise is False and not isinstance(self.low, Tensor)

    @property
    def ends(self) -> tuple[float, float]:
        """low and high of a plain grid."""
        return float(self.low), float(self.high)

    def nearest(self, t: Tensor) -> Tensor:
        """The code nearest to `t`; halves go to the even one, and 0 to +1 where there is no 0.

        >>> Grid(-7, 7).nearest(torch.tensor([0.5, 1.5, -9.0])), Grid(-1, 1, True).nearest(torch.tensor([-0.1, 0.0]))
        (tensor([0., 2., -7.]), tensor([-1., 1.]))
        """
        if self.mid_rise is False:
            return self.clamp(t).round_()
        if self.mid_rise is True:
            return self._nearest_odd(t)
        return torch.where(self.mid_rise, self._nearest_odd(t), Grid(self.low, self.high).nearest(t))

    def _nearest_odd(self, t: Tensor) -> Tensor:
        if not isinstance(self.high, Tensor) and self.high == 1:  # the usual case, and much the fastest way
            return (t >= 0).to(t.dtype).mul_(2).sub_(1)
        # Not 2 * round((t - 1) / 2) + 1: for tiny negative t the subtraction rounds to -1, and the sign would be lost.
        magnitude = 2 * torch.floor(t.abs() / 2) + 1
        return self.clamp(torch.where(t >= 0, magnitude, -magnitude))

    def clamp(self, t: Tensor) -> Tensor:
        """`t`, or the end of the grid that it lies beyond."""
        low, high = cast(Any, self.low), cast(Any, self.high)  # torch types numbers and tensors apart
        clamped: Tensor = t.clamp(low, high)
        return clamped


class TensorFunction(torch.autograd.Function):
    """An autograd function whose one result is a tensor."""

    @classmethod
    def run(cls, *args: Any) -> Tensor:
        """`apply`, which torch leaves untyped."""
        result: Tensor = cls.apply(*args)  # type: ignore[no-untyped-call]
        return result


class Rounding(NamedTuple):
    """How numbers become codes once the range is known: `RoundToGrid`'s arguments."""

    scale: Tensor
    grid: Grid
    clip_gradient: bool
    learned: bool

    def __call__(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Codes of `x` in `dtype`."""
        return RoundToGrid.run(x, self.scale, self.grid, self.clip_gradient, self.learned, dtype)


class RoundToGrid(TensorFunction):
    """codes = nearest grid point to x / scale, with the straight-through estimator and the gradient of the step size.

    With t = x / s and c the code, and g the gradient of the value s * c:

        dL/dx = g, or 0 where t is off the grid and `clip_gradient`
        dL/ds = sum g * (c - t) on the grid, g * c beyond its ends        (Esser et al. 2020, equation 3)

    The sum runs over the elements that share a scale. `learned` False skips dL/ds.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, grid: Grid, clip_gradient: bool, learned: bool, dtype: torch.dtype
    ) -> Tensor:
        """`x` of any shape, `scale` broadcasting against it; codes in `dtype`."""
        ctx.save_for_backward(x, scale)
        ctx.grid, ctx.clip_gradient, ctx.learned = grid, clip_gradient, learned
        ctx.fused = fused.applies(x, dtype) and grid.is_plain and scale_by_row(x, scale)
        if ctx.fused:
            return fused.quantize(x, scale.reciprocal(), *grid.ends)
        return grid.nearest(x.float() * scale.reciprocal()).to(dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x and scale from that of the value."""
        (grad,) = grads
        x, scale = ctx.saved_tensors
        if not (ctx.clip_gradient or ctx.learned):
            return grad.to(x.dtype), None, None, None, None, None
        if ctx.fused:
            low, high = ctx.grid.ends
            grads_of = fused.quantize_backward(x, grad, scale.reciprocal(), low, high, ctx.clip_gradient)
            return grads_of[0], grads_of[1] if ctx.learned else None, None, None, None, None
        grad = grad.float()
        t = x.float() * scale.reciprocal()
        inside = (t >= ctx.grid.low) & (t <= ctx.grid.high)
        grad_scale = None
        if ctx.learned:
            error = ctx.grid.nearest(t) - t * inside
            grad_scale = _sum_to(grad * error, scale.shape)
        grad_x = grad * inside if ctx.clip_gradient else grad
        return grad_x.to(x.dtype), grad_scale, None, None, None, None


class StraightThrough(TensorFunction):
    """Codes that were computed elsewhere, standing for x: the gradient passes unchanged (Bengio et al. 2013)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, codes: Tensor) -> Tensor:
        """`x` and `codes` of one shape."""
        return codes

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """dL/dx = dL/dvalue."""
        return grads[0], None


class ScaleGradient(TensorFunction):
    """Identity whose gradient is multiplied by a factor (LSQ's 1/sqrt(N * Qp))."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor) -> Tensor:
        """`x` unchanged; `factor` broadcasts against it."""
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """dL/dx times the factor."""
        return grads[0] * ctx.factor, None


def round_to_dtype(x: Tensor, dtype: torch.dtype) -> Tensor:
    """`x` as it will be read back from a file that stores it in `dtype`; the gradient passes unchanged."""
    return x + (x.to(dtype).to(x.dtype) - x).detach()


def scale_by_row(x: Tensor, scale: Tensor) -> bool:
    """Whether `scale` is one for all of `x`, or one for each row of a matrix."""
    return scale.numel() == 1 or (x.dim() == 2 and scale.shape == (len(x), 1))


def _sum_to(x: Tensor, shape: torch.Size) -> Tensor:
    return x.sum_to_size(shape) if x.shape != shape else x
