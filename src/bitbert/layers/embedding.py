"""An embedding table whose rows are fake-quantized as they are looked up."""

from __future__ import annotations

from torch import Tensor, nn

from bitbert.layers.product import dequantize, gemm_dtype
from bitbert.quantizers import WeightQuantizer


class QuantEmbedding(nn.Embedding):
    """`nn.Embedding` over integer codes; it takes over the table of the layer that it replaces."""

    def __init__(self, stock: nn.Embedding, weight_quantizer: WeightQuantizer) -> None:
        """Replace `stock`."""
        nn.Module.__init__(self)
        self.num_embeddings, self.embedding_dim = stock.num_embeddings, stock.embedding_dim
        self.padding_idx, self.weight = stock.padding_idx, stock.weight
        self.weight_quantizer = weight_quantizer

    def forward(self, input: Tensor) -> Tensor:
        """Token ids (...) -> float32 (..., embedding_dim)."""
        return dequantize(self.weight_quantizer.gather(self.weight, input, gemm_dtype(self.weight)))
