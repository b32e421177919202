"""An element-wise activation (GELU) whose input is fake-quantized, so that the engine can use a table of bytes."""

from __future__ import annotations

from torch import Tensor, nn

from bitbert.layers.product import dequantize, gemm_dtype
from bitbert.quantizers import ActivationQuantizer


class QuantActivation(nn.Module):
    """`function` of the dequantized input."""

    def __init__(self, function: nn.Module, input_quantizer: ActivationQuantizer) -> None:
        """Replace `function`."""
        super().__init__()
        self.function, self.input_quantizer = function, input_quantizer

    def forward(self, input: Tensor) -> Tensor:
        """Element-wise."""
        output: Tensor = self.function(dequantize(self.input_quantizer(input, gemm_dtype(input))))
        return output
