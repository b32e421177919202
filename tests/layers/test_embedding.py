"""The fake-quantized embedding is the stock one on a quantized table."""

import pytest
import torch
from torch import nn

from bitbert.layers.embedding import QuantEmbedding
from bitbert.quantizers import make_weight
from bitbert.spec import WeightSpec, row_groups


@pytest.mark.parametrize("spec", [WeightSpec(8), WeightSpec(4, granularity="row"), WeightSpec(None)], ids=str)
def test_it_is_the_stock_layer_on_quantized_numbers(spec):
    torch.manual_seed(0)
    stock = nn.Embedding(30, 8, padding_idx=0)
    quantized = QuantEmbedding(stock, make_weight(spec, row_groups(30), "float16"))
    assert quantized.weight is stock.weight
    assert quantized.padding_idx == 0
    assert "30, 8" in repr(quantized)
    ids = torch.tensor([[3, 0, 29], [7, 7, 1]])
    codes, scale, _ = quantized.weight_quantizer(stock.weight)
    assert torch.equal(quantized(ids), nn.functional.embedding(ids, codes * scale))


def test_only_looked_up_rows_get_a_gradient():
    quantized = QuantEmbedding(
        nn.Embedding(9, 4), make_weight(WeightSpec(8, granularity="row"), row_groups(9), "float16")
    )
    quantized(torch.tensor([2, 2, 5])).sum().backward()
    assert quantized.weight.grad.sum(1).tolist() == [0, 0, 8, 0, 0, 4, 0, 0, 0]
