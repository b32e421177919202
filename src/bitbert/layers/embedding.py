"""An embedding table whose rows are fake-quantized as they are looked up."""

from __future__ import annotations

from torch import Tensor, nn

from bitbert.layers.product import dequantize, gemm_dtype
from bitbert.quantizers import FloatWeight, WeightQuantizer


class QuantEmbedding(nn.Embedding):
    """`nn.Embedding` over integer codes; it takes over the table of the layer that it replaces."""

    def __init__(self, stock: nn.Embedding, weight_quantizer: WeightQuantizer | FloatWeight) -> None:
        """Replace `stock`."""
        super().__init__(stock.num_embeddings, stock.embedding_dim, stock.padding_idx, _weight=stock.weight)
        self.weight = stock.weight
        self.weight_quantizer = weight_quantizer

    def forward(self, input: Tensor) -> Tensor:
        """Token ids (...) -> float32 (..., embedding_dim)."""
        return dequantize(self.weight_quantizer.gather(self.weight, input, gemm_dtype(self.weight)))
