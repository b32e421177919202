"""Products of integer codes: exact sums, and the gradients of the values that the codes stand for."""

import pytest
import torch

from bitbert.layers.product import EXACT_FLOAT32, dequantize, integer_matmul, linear, matmul, quantized_linear
from bitbert.quantizers import FloatActivation, Quantized, fused, make_activation
from bitbert.spec import ActivationSpec


def codes(shape, scale, bound=7, dtype=torch.float32, seed=0):
    """Random codes that want a gradient."""
    numbers = torch.randint(-bound, bound + 1, shape, generator=torch.Generator().manual_seed(seed))
    return Quantized(numbers.to(dtype).requires_grad_(), torch.as_tensor(scale), bound)


def leaf(x):
    """The value of codes in float64, as a leaf."""
    return (x.codes.detach().double() * x.scale.double()).requires_grad_()


def close(actual, expected):
    torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bound", [127 * 127, 255 * 127, 1, 0])
def test_sums_are_exact(bound):
    """Larger than 2^24, where float32 alone would lose the last bit."""
    k = 5000
    a, b = torch.full((2, k), float(max(1, bound // 127))), torch.full((k, 3), float(min(127, max(1, bound))))
    a[0, 0] -= 1
    if bound:
        exact = (a.long() @ b.long()).float()
        assert torch.equal(integer_matmul(a, b, bound), exact)
        assert bound == 1 or exact.max() > EXACT_FLOAT32
    else:
        assert torch.equal(integer_matmul(a, b, bound), a @ b)


@pytest.mark.parametrize("per_token", [False, True])
@pytest.mark.parametrize("per_row", [False, True])
def test_linear(per_token, per_row):
    torch.manual_seed(0)
    x = codes((2, 5, 6), torch.rand(2, 5, 1) if per_token else [0.3])
    w = codes((4, 6), torch.rand(4, 1) if per_row else [[0.2]], seed=1)
    bias, grad = torch.randn(4, requires_grad=True), torch.randn(2, 5, 4)
    y = linear(x, w, bias)
    y.backward(grad)
    exact_x, exact_w, exact_bias = leaf(x), leaf(w), bias.detach().double().requires_grad_()
    exact = exact_x @ exact_w.t() + exact_bias
    exact.backward(grad.double())
    close(y, exact)
    for got, expected in ((x.codes, exact_x), (w.codes, exact_w), (bias, exact_bias)):
        close(got.grad, expected.grad)


def test_matmul():
    torch.manual_seed(0)
    a, b, grad = codes((2, 3, 5, 4), [0.3]), codes((2, 3, 4, 6), [0.2], seed=1), torch.randn(2, 3, 5, 6)
    y = matmul(a, b, 0.125)
    y.backward(grad)
    exact_a, exact_b = leaf(a), leaf(b)
    exact = exact_a @ exact_b * 0.125
    exact.backward(grad.double())
    close(y, exact)
    close(a.codes.grad, exact_a.grad)
    close(b.codes.grad, exact_b.grad)


def test_dequantize_passes_the_gradient_of_the_value():
    x, grad = codes((3, 4), [0.3]), torch.randn(3, 4)
    value = dequantize(x)
    assert torch.equal(value, x.codes * x.scale)
    value.backward(grad)
    assert torch.equal(x.codes.grad, grad)


# ---- bfloat16, as under autocast -------------------------------------------------------------------------------------


def quantizer():
    made = make_activation(ActivationSpec(8, "learned_range"), "gelu_input", "float16")
    made.alpha.data.fill_(5.0)
    return made


def run_quantized_linear(columns, grad):
    """Codes out, and gradients of input, weight, bias and range."""
    torch.manual_seed(0)
    x, w = codes((3, 11, 8), [0.3], dtype=torch.bfloat16), codes((columns, 8), [[0.2]], dtype=torch.bfloat16, seed=1)
    bias, made = torch.randn(columns, requires_grad=True), quantizer()
    out = quantized_linear(x, w, bias, made)
    out.codes.backward(grad)
    return out, x.codes.grad, w.codes.grad, bias.grad, made.alpha.grad


@pytest.mark.parametrize("columns", [1, 37, 5000])
def test_a_fused_linear_layer_is_its_parts(monkeypatch, columns):
    grad = torch.randn(3, 11, columns, generator=torch.Generator().manual_seed(2)).bfloat16()
    together = run_quantized_linear(columns, grad)
    monkeypatch.setattr(fused, "applies", lambda x, dtype: False)
    apart = run_quantized_linear(columns, grad)
    assert together[0].codes.dtype == torch.bfloat16
    assert torch.equal(together[0].codes, apart[0].codes)
    assert torch.equal(together[0].scale, apart[0].scale)
    assert columns == 1 or (together[0].codes.abs() == together[0].bound).any()
    for one, other in zip(together[1:3], apart[1:3], strict=True):
        assert torch.equal(one, other)  # products of the same bfloat16 gradients
    # Sums of gradients, for the range each times (code - t) / 127 or 1 at most: both sides round once a term and a
    # product.
    sizes = grad.float().abs().flatten(0, 1)
    assert ((together[3] - apart[3]).abs() <= 2 * 33 * 2.0**-24 * sizes.sum(0)).all()
    assert (together[4] - apart[4]).abs() <= 2 * (33 * columns + 2) * 2.0**-24 * sizes.sum()


def test_a_float_output_stays_float():
    x, w = codes((5, 6), [0.3]), codes((4, 6), [[0.2]], seed=1)
    out = quantized_linear(x, w, torch.zeros(4), FloatActivation())
    assert torch.equal(out.codes, linear(x, w, torch.zeros(4)))
    assert out.bound == 0


def test_bfloat16_sums_of_codes_are_those_of_integers():
    """Codes of 8 bits are exact in bfloat16, and the sum is rounded to it once."""
    x, w = codes((40, 64), [1.0], 127, torch.bfloat16), codes((64, 48), [1.0], 127, torch.bfloat16, seed=1)
    exact = x.codes.detach().long() @ w.codes.detach().long()
    assert torch.equal(integer_matmul(x.codes, w.codes, 127 * 127), exact.float().bfloat16())


def test_shapes_of_codes():
    x = codes((2, 3, 4), [0.5])
    assert x.shape == (2, 3, 4)
    assert x.view(6, 4).codes.shape == (6, 4)
    assert x.transpose(0, 1).codes.shape == (3, 2, 4)
