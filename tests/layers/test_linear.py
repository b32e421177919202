"""The fake-quantized linear layer is the stock one on quantized numbers."""

import pytest
import torch
from torch import nn

from bitbert.layers.linear import QuantLinear
from bitbert.quantizers import Quantized, make_activation, make_weight
from bitbert.spec import ActivationSpec, WeightSpec, row_groups


def layer(weight=None, output=None):
    torch.manual_seed(0)
    stock = nn.Linear(10, 20)
    quantizer = make_weight(weight or WeightSpec(4, granularity="row"), row_groups(20), "float16")
    ends = make_activation(ActivationSpec(8), "linear_input", "float16"), output
    return stock, QuantLinear(stock, quantizer, *ends)


def test_it_takes_over_the_parameters():
    stock, quantized = layer()
    assert quantized.weight is stock.weight
    assert quantized.bias is stock.bias
    assert (quantized.in_features, quantized.out_features) == (10, 20)
    assert "in_features=10" in repr(quantized)


def test_it_is_the_stock_layer_on_quantized_numbers():
    _, quantized = layer()
    x = torch.randn(3, 5, 10)
    y = quantized(x)
    codes, scale, _ = quantized.input_quantizer(x)
    weight = quantized.weight_quantizer(quantized.weight)
    expected = nn.functional.linear(
        (codes * scale).double(), (weight.codes * weight.scale).double(), quantized.bias.double()
    )
    torch.testing.assert_close(y.double(), expected, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(y, nn.functional.linear(x, quantized.weight, quantized.bias), atol=1e-3)


def test_codes_in_and_codes_out():
    output = make_activation(ActivationSpec(8), "query", "float16")
    _, quantized = layer(output=output)
    x = Quantized(torch.randint(-7, 8, (2, 10)).float(), torch.tensor([0.5]), 7)
    out = quantized(x)
    assert isinstance(out, Quantized)
    assert torch.equal(out.codes, out.codes.round())
    assert out.codes.abs().max() == 127


@pytest.mark.parametrize("method", ["minmax", "learned_range", "lsq"])
def test_pruned_rows_are_zero_with_their_bias(method):
    _, quantized = layer(WeightSpec(method=method, granularity="row_group", group_bits=(0, 4)))
    quantized.weight_quantizer.initialize(quantized.weight)
    y = quantized(torch.randn(3, 10))
    assert not y[:, :16].any()
    assert y[:, 16:].all()
    y.sum().backward()
    assert not quantized.bias.grad[:16].any()
    assert quantized.bias.grad[16:].all()


def test_a_float_weight():
    stock, quantized = layer(WeightSpec(None))
    x = torch.randn(3, 10)
    codes, scale, _ = quantized.input_quantizer(x)
    torch.testing.assert_close(quantized(x), stock(codes * scale))
