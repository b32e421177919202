"""A linear layer whose weight, input and, where the next operation takes codes, output are fake-quantized."""

from __future__ import annotations

from torch import Tensor, nn

from bitbert.layers.product import gemm_dtype, linear, quantized_linear
from bitbert.quantizers import ActivationQuantizer, FloatActivation, FloatWeight, Quantized, WeightQuantizer

Activation = ActivationQuantizer | FloatActivation


class QuantLinear(nn.Linear):
    """`nn.Linear` over integer codes; it takes over the weight and bias of the layer that it replaces.

    `input_quantizer` is None where the input arrives quantized; `output_quantizer` is None where the output stays
    float.
    """

    def __init__(
        self,
        stock: nn.Linear,
        weight_quantizer: WeightQuantizer | FloatWeight,
        input_quantizer: Activation | None = None,
        output_quantizer: Activation | None = None,
    ) -> None:
        """Replace `stock`."""
        nn.Module.__init__(self)
        self.in_features, self.out_features = stock.in_features, stock.out_features
        self.weight, self.bias = stock.weight, stock.bias
        self.weight_quantizer = weight_quantizer
        self.input_quantizer, self.output_quantizer = input_quantizer, output_quantizer

    def forward(self, input: Tensor | Quantized) -> Tensor | Quantized:  # type: ignore[override]
        """(..., in_features) -> (..., out_features): float32, or codes where there is an output quantizer."""
        x = input if isinstance(input, Quantized) else self._quantize(input)
        weight, bias = self.weight_quantizer(self.weight, x.codes.dtype), self.weight_quantizer.kept(self.bias)
        if self.output_quantizer is None:
            return linear(x, weight, bias)
        return quantized_linear(x, weight, bias, self.output_quantizer)

    def _quantize(self, input: Tensor) -> Quantized:
        assert self.input_quantizer is not None
        quantized: Quantized = self.input_quantizer(input, gemm_dtype(input))
        return quantized
