"""A linear layer whose weight and input are fake-quantized."""

from __future__ import annotations

from torch import Tensor, nn

from bitbert.layers.product import gemm_dtype, linear
from bitbert.quantizers import ActivationQuantizer, FloatActivation, Quantized, WeightQuantizer


class QuantLinear(nn.Linear):
    """`nn.Linear` over integer codes; it takes over the weight and bias of the layer that it replaces.

    `input_quantizer` is None where the input arrives quantized (Q, K and V share the codes of one tensor).
    """

    def __init__(
        self,
        stock: nn.Linear,
        weight_quantizer: WeightQuantizer,
        input_quantizer: ActivationQuantizer | FloatActivation | None,
    ) -> None:
        """Replace `stock`."""
        nn.Module.__init__(self)
        self.in_features, self.out_features = stock.in_features, stock.out_features
        self.weight, self.bias = stock.weight, stock.bias
        self.weight_quantizer, self.input_quantizer = weight_quantizer, input_quantizer

    def forward(self, input: Tensor | Quantized) -> Tensor:
        """(..., in_features) -> float32 (..., out_features)."""
        if not isinstance(input, Quantized):
            assert self.input_quantizer is not None
            input = self.input_quantizer(input, gemm_dtype(input))
        return linear(input, self.weight_quantizer(self.weight, input.codes.dtype), self.bias)
