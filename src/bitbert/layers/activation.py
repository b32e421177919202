"""An element-wise activation (GELU) between codes and codes: a function of at most 256 inputs, so a table.

The engine runs it as a table of bytes. So does training, forwards and backwards, where the ranges on both sides are
known beforehand.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bitbert.layers.product import dequantize, gemm_dtype
from bitbert.quantizers import ActivationQuantizer, FloatActivation, Quantized, fused
from bitbert.quantizers.ste import TensorFunction


class QuantActivation(nn.Module):
    """`function` of a float or quantized input, quantized for the linear layer that follows."""

    def __init__(self, function: nn.Module, output_quantizer: ActivationQuantizer | FloatActivation) -> None:
        """Replace `function`."""
        super().__init__()
        self.function, self.output_quantizer = function, output_quantizer

    def forward(self, input: Tensor | Quantized) -> Quantized:
        """Element-wise."""
        if isinstance(input, Quantized):
            quantizer = self.output_quantizer
            rounding = quantizer.rounding() if isinstance(quantizer, ActivationQuantizer) else None
            if rounding and input.bound and rounding.grid.is_plain and fused.applies(input.scale, input.codes.dtype):
                codes = _Table.run(input.codes, input.scale, input.bound, self.function, *rounding)
                return Quantized(codes, rounding.scale.detach(), quantizer.bound)
            input = dequantize(input)
        output: Quantized = self.output_quantizer(self.function(input), gemm_dtype(input))
        return output


class _Table(TensorFunction):
    """Codes of function(codes * scale), looked up; with g the gradient of the value of the result:

    gradient of the input's value = g * function'(value), or 0 where the result was clipped; gradient of the result's
    scale as in `RoundToGrid`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        codes: Tensor,
        scale: Tensor,
        bound: int,
        function: nn.Module,
        out_scale: Tensor,
        grid: Any,
        clip: bool,
        learned: bool,
    ) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
            values = (torch.arange(-bound, bound + 1) * scale.detach()).requires_grad_()
            outputs = function(values)
            (slope,) = torch.autograd.grad(outputs.sum(), values)
        t = outputs.detach() * out_scale.reciprocal()
        inside = (t >= grid.low) & (t <= grid.high)
        table = grid.nearest(t)
        ctx.save_for_backward(codes, slope * inside if clip else slope, table - t * inside)
        ctx.first, ctx.scale_shape = float(-bound), out_scale.shape
        return fused.look_up(codes, table, ctx.first)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        codes, slope, error = ctx.saved_tensors
        grad_in, grad_scale = fused.look_up_backward(codes, grads[0], slope, error, ctx.first)
        return grad_in, None, None, None, grad_scale.view(ctx.scale_shape), None, None, None
