"""GELU between codes: the table of training is the function, forwards and backwards."""

import pytest
import torch
from torch import nn

from bitbert.layers.activation import QuantActivation
from bitbert.quantizers import FloatActivation, Quantized, fused, make_activation
from bitbert.spec import ActivationSpec


def activation(method="learned_range", **options):
    """GELU into 8-bit codes of range 4; about a tenth of what it is fed below is beyond that."""
    quantizer = make_activation(ActivationSpec(8, method, **options), "linear_input", "float16")
    if method == "learned_range":
        quantizer.alpha.data.fill_(4.0)
    if not options.get("symmetric", True):
        quantizer.zero_point.fill_(11)
    return QuantActivation(nn.GELU(), quantizer)


def some_codes(dtype, shape=(3, 7, 41)):
    numbers = torch.randint(-127, 128, shape, generator=torch.Generator().manual_seed(0))
    return Quantized(numbers.to(dtype).requires_grad_(), torch.tensor([0.04]), 127)


def gradient(shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def run(module, dtype):
    """Codes, and gradients of the input and of the range."""
    module.zero_grad()
    x = some_codes(dtype)
    out = module(x)
    out.codes.backward(gradient(x.shape).to(dtype))
    return out, x.codes.grad, module.output_quantizer.alpha.grad.clone()


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_table_is_the_function(monkeypatch, symmetric):
    module = activation(symmetric=symmetric)
    with torch.autocast("cpu", torch.bfloat16):
        table = run(module, torch.bfloat16)
        monkeypatch.setattr(fused, "applies", lambda x, dtype: False)
        function = run(module, torch.bfloat16)
    assert table[0].codes.dtype == torch.bfloat16
    assert torch.equal(table[0].codes, function[0].codes)
    assert torch.equal(table[0].scale, function[0].scale)
    # one rounding to bfloat16, and slopes that differ by a few roundings of float32 may fall on either side of it
    torch.testing.assert_close(table[1], function[1], rtol=2.0**-7, atol=2.0**-20)
    assert (table[1] == 0).any()
    # Sums of gradients times (code - t) / levels, or 1 at most: both sides round once a term, and some 8 times in t.
    sizes = gradient(table[1].shape).abs()
    assert (table[2] - function[2]).abs() <= 2 * (sizes.numel() + 8) * 2.0**-24 * sizes.sum()


def test_float32_codes():
    module, x = activation(), some_codes(torch.float32)
    out = module(x)
    value = nn.functional.gelu(x.codes * x.scale)
    assert torch.equal(out.codes, (value * out.scale.reciprocal()).clamp(-127, 127).round())


def test_a_float_input():
    module, x = activation(), torch.randn(2, 9, requires_grad=True)
    out = module(x)
    assert torch.equal(out.codes, module.output_quantizer(nn.functional.gelu(x)).codes)
    out.codes.sum().backward()
    assert x.grad.abs().sum() > 0


def test_a_float_output():
    module = QuantActivation(nn.GELU(), FloatActivation())
    x = torch.randn(2, 9)
    assert torch.equal(module(x).codes, nn.functional.gelu(x))


def test_a_range_that_moves_with_the_batch_has_no_table():
    """In training min-max sees each batch first, so what it rounds to is not known before."""
    module = activation("minmax").train()
    with torch.autocast("cpu", torch.bfloat16):
        first = module(some_codes(torch.bfloat16)).scale
        second = module(Quantized(torch.ones(1, 3).bfloat16(), torch.tensor([90.0]), 127)).scale
    assert second > first
