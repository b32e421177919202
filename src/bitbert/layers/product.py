"""Matrix products of integer codes, scaled afterwards: what the engine computes, in a float dtype.

In bfloat16 (under autocast) codes of 8 bits are exact and sums are kept in float32; in float32 the sums are exact
integers too, as long as they stay below 2^24, so longer ones are added up in pieces.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bitbert.quantizers import ActivationQuantizer, FloatActivation, Quantized, fused
from bitbert.quantizers.ste import Grid, TensorFunction

EXACT_FLOAT32 = 2**24  # every integer up to here is a float32


def gemm_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which codes are multiplied: autocast's, or float32."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32


def dequantize(x: Quantized) -> Tensor:
    """The value codes * scale in float32."""
    return _Dequantize.run(x.codes, x.scale)


def linear(x: Quantized, weight: Quantized, bias: Tensor) -> Tensor:
    """float32 (..., rows) = value(x) (..., columns) @ value(weight).T + bias (rows)."""
    return _Shift.run(_sums(x, weight), _output_scale(x, weight), bias)


def quantized_linear(
    x: Quantized, weight: Quantized, bias: Tensor, quantizer: ActivationQuantizer | FloatActivation
) -> Quantized:
    """`quantizer(linear(x, weight, bias))`, without the float32 result in between where `fused` applies."""
    rounding = quantizer.rounding() if isinstance(quantizer, ActivationQuantizer) else None
    dtype = x.codes.dtype
    if rounding and rounding.grid.is_plain and x.scale.numel() == 1 and fused.applies(bias, dtype):
        scale = _output_scale(x, weight).expand_as(bias).contiguous()
        codes = _ShiftAndQuantize.run(_sums(x, weight), scale, bias, *rounding)
        return Quantized(codes, rounding.scale.detach(), quantizer.bound)
    quantized: Quantized = quantizer(linear(x, weight, bias), dtype)
    return quantized


def matmul(a: Quantized, b: Quantized, factor: float = 1.0) -> Tensor:
    """float32 (..., m, n) = value(a) (..., m, k) @ value(b) (..., k, n) * factor; both scales for the whole tensor."""
    scale = a.scale * b.scale * torch.tensor(factor, dtype=torch.float32)
    return _MatMul.run(a.codes, b.codes, a.scale, b.scale, scale, factor, a.bound * b.bound)


def integer_matmul(a: Tensor, b: Tensor, bound: int) -> Tensor:
    """a @ b for integer-valued a and b with |a_i b_j| <= bound; exact in float32 (bound 0: plain float product)."""
    depth = EXACT_FLOAT32 // bound if bound else a.shape[-1]
    if a.dtype != torch.float32 or a.shape[-1] <= depth:
        return a @ b
    parts = [x @ y for x, y in zip(a.split(depth, -1), b.split(depth, -2), strict=True)]
    return torch.stack([p.double() for p in parts]).sum(0).float()


def _sums(x: Quantized, weight: Quantized) -> Tensor:
    """codes(x) @ codes(weight).T; its gradient is, as that of codes, the gradient of what it stands for."""
    return _Sums.run(x.codes, x.scale, weight.codes, weight.scale, x.bound * weight.bound)


def _output_scale(x: Quantized, weight: Quantized) -> Tensor:
    """Scale of each sum, (rows) or (..., rows)."""
    return x.scale * weight.scale.squeeze(-1)


class _Dequantize(TensorFunction):
    @staticmethod
    def forward(ctx: Any, codes: Tensor, scale: Tensor) -> Tensor:
        return codes.float() * scale

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return grads[0], None


class _Sums(TensorFunction):
    @staticmethod
    def forward(ctx: Any, x: Tensor, x_scale: Tensor, w: Tensor, w_scale: Tensor, bound: int) -> Tensor:
        ctx.save_for_backward(x, x_scale, w, w_scale)
        return integer_matmul(x, w.t(), bound)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, x_scale, w, w_scale = ctx.saved_tensors
        grad_x = grad @ (w * w_scale.to(w.dtype)) if ctx.needs_input_grad[0] else None
        if x_scale.numel() > 1:  # per token: the scale belongs inside the sum over tokens
            grad = grad * x_scale.to(grad.dtype)
        grad_w = grad.flatten(0, -2).t() @ x.flatten(0, -2)
        if x_scale.numel() == 1:
            grad_w *= x_scale.to(grad_w.dtype)
        return grad_x, None, grad_w, None, None


class _Shift(TensorFunction):
    @staticmethod
    def forward(ctx: Any, sums: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        ctx.dtype = sums.dtype
        if scale.dim() == 1 and fused.applies(bias, sums.dtype):
            return fused.scale_and_shift(sums, scale.expand_as(bias).contiguous(), bias)
        return sums.float() * scale + bias

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return grads[0].to(ctx.dtype), None, grads[0].flatten(0, -2).sum(0)


class _ShiftAndQuantize(TensorFunction):
    """Codes of sums * scale + bias: `_Shift` and `RoundToGrid` in one pass, forwards and backwards."""

    @staticmethod
    def forward(
        ctx: Any, sums: Tensor, scale: Tensor, bias: Tensor, step: Tensor, grid: Grid, clip: bool, learned: bool
    ) -> Tensor:
        ctx.save_for_backward(sums, scale, bias)
        ctx.grid, ctx.clip, ctx.step_shape = fused.PlainGrid(step.reciprocal().item(), *grid.ends), clip, step.shape
        return fused.shift_and_quantize(sums, scale, bias, ctx.grid)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        sums, scale, bias = ctx.saved_tensors
        grad_y, grad_bias, grad_step = fused.shift_and_quantize_backward(
            sums, scale, bias, grads[0], ctx.grid, ctx.clip
        )
        return grad_y, None, grad_bias, grad_step.view(ctx.step_shape), None, None, None


class _MatMul(TensorFunction):
    @staticmethod
    def forward(
        ctx: Any, a: Tensor, b: Tensor, a_scale: Tensor, b_scale: Tensor, scale: Tensor, factor: float, bound: int
    ) -> Tensor:
        ctx.save_for_backward(a, b, a_scale, b_scale)
        ctx.factor = factor
        return integer_matmul(a, b, bound).float() * scale

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        a, b, a_scale, b_scale = ctx.saved_tensors
        grad = (grads[0] * ctx.factor).to(a.dtype)
        grad_a = (grad @ b.transpose(-1, -2)) * b_scale.to(a.dtype)
        grad_b = (a.transpose(-1, -2) @ grad) * a_scale.to(a.dtype)
        return grad_a, grad_b, None, None, None, None, None
