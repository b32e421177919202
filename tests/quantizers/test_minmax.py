"""Min-max ranges: Q8BERT's moving average step by step, zero points, and per-token ranges as in docs/numerics.md."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitbert.quantizers import make_activation
from bitbert.runtime.reference import quantize_per_token, quantize_static
from bitbert.spec import ActivationSpec, CodeGrid, WeightSpec, activation_grid
from quantizers.cases import quantizer_of


def activation(bits=8, kind="linear_input", leftovers="float32", **options):
    return make_activation(ActivationSpec(bits, **options), kind, leftovers)


def batches(count, seed=0):
    return torch.randn(count, 5, 7, generator=torch.Generator().manual_seed(seed))


def test_weights_reach_to_their_largest():
    weight = torch.tensor([[0.5, -2.54], [1.0, 0.1]])
    codes, scale, _ = quantizer_of(weight, WeightSpec(8), leftovers="float32")(weight)
    assert scale.item() == pytest.approx(2.54 / 127)
    assert codes.tolist() == [[25, -127], [50, 5]]


def test_the_weight_gradient_passes_unchanged():
    weight, g = torch.randn(6, 6).requires_grad_(), torch.randn(6, 6)
    quantizer_of(weight.detach(), WeightSpec(4))(weight).codes.backward(g)
    assert torch.equal(weight.grad, g)


def test_the_moving_average_is_that_of_q8bert():
    quantizer = activation().train()
    top = None
    for x in batches(30):
        largest = x.abs().max().double().item()
        top = largest if top is None else top - (1 - 0.9999) * (top - largest)
        codes, scale, _ = quantizer(x)
        assert scale.item() == pytest.approx(top / 127, rel=1e-6)  # the average after this batch, not before it
        assert torch.equal(codes, (x * scale.reciprocal()).clamp(-127, 127).round())
    assert top != largest


def test_evaluation_changes_nothing():
    quantizer = activation().train()
    first, second = batches(2)
    quantizer(first)
    before = quantizer.eval()(first).scale.clone()
    for _ in range(3):
        assert torch.equal(quantizer(100 * second).scale, before)


def test_the_activation_gradient_passes_unchanged_where_clipped():
    quantizer = activation().train()
    first, second = batches(2)
    quantizer(first)
    x, g = (10 * second).requires_grad_(), torch.randn(5, 7)
    codes = quantizer.eval()(x).codes
    codes.backward(g)
    assert (codes.abs() == 127).any()
    assert torch.equal(x.grad, g)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_zero_point_gives_every_code_to_the_range(bits):
    quantizer = activation(bits, symmetric=False).train()
    x = torch.linspace(-1, 3, 4001)[None]
    codes, scale, _ = quantizer(x)
    top = 2**bits - 1
    assert scale.item() == pytest.approx(4 / top)
    assert quantizer.zero_point == round(top / 4)
    assert (codes + quantizer.zero_point).unique().tolist() == list(range(top + 1))


def test_the_zero_point_follows_the_average():
    quantizer = activation(4, symmetric=False).train()
    low = high = None
    for x in batches(20):
        ends = (x.min().item(), x.max().item())
        low, high = (
            ends if low is None else (a + (1 - 0.9999) * (b - a) for a, b in zip((low, high), ends, strict=True))
        )
        scale = quantizer(x).scale.item()
        assert scale == pytest.approx((high - low) / 15, rel=1e-6)
        assert quantizer.zero_point == round(-low / scale)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_range_on_one_side_of_zero_still_holds_zero(sign):
    quantizer = activation(4, symmetric=False).train()
    x = sign * torch.linspace(1, 2, 9)[None]
    codes, scale, _ = quantizer(x)
    assert quantizer.zero_point == (0 if sign > 0 else 15)
    assert (codes * scale - x).abs().max() <= scale / 2 * (1 + 1e-6)


def test_probabilities_use_the_upper_half_of_a_symmetric_grid():
    for symmetric, top in ((True, 127), (False, 255)):
        quantizer = activation(kind="probs", symmetric=symmetric).train()
        codes = quantizer(torch.linspace(0, 1, 1000)[None]).codes
        assert (codes.min(), codes.max()) == (0, top)
        assert quantizer.zero_point == 0


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([1, 2, 4, 8]), st.booleans(), st.integers(0, 2**32 - 1))
def test_static_codes_are_those_of_the_numerics(bits, symmetric, seed):
    """The oracle of the engine takes the same scale and gives the same codes, ties and clipped numbers included."""
    rng = np.random.default_rng(seed)
    quantizer = activation(bits, symmetric=symmetric, leftovers="float16").train()
    quantizer(torch.from_numpy(rng.standard_normal((1, 50)).astype(np.float32)))
    scale = np.float32(quantizer.eval()(torch.zeros(1, 1)).scale.item())
    ties = scale * (np.arange(-20, 20) + 0.5)
    x = np.concatenate([4 * rng.standard_normal(50), ties, [0.0, -0.0]]).astype(np.float32)
    grid, zero_point = activation_grid(quantizer.spec, "linear_input"), int(quantizer.zero_point)
    expected = quantize_static(x, scale, CodeGrid(grid.low, grid.high, zero_point, grid.step))
    codes = quantizer(torch.from_numpy(x)).codes.numpy()
    np.testing.assert_array_equal(codes, expected.codes - zero_point)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([2, 4, 8]), st.booleans(), st.integers(0, 2**32 - 1))
def test_per_token_codes_are_those_of_the_numerics(bits, symmetric, seed):
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((9, 23)) * 10.0 ** rng.integers(-8, 5, (9, 1))).astype(np.float32)
    x[0], x[1], x[2] = 0, np.abs(x[1]), -np.abs(x[2])
    quantizer = activation(bits, symmetric=symmetric, scale="per_token")
    expected = quantize_per_token(x, symmetric, activation_grid(quantizer.spec, "linear_input"))
    codes, scale, _ = quantizer(torch.from_numpy(x))
    np.testing.assert_array_equal(scale.numpy(), expected.scale)
    np.testing.assert_array_equal(codes.numpy(), expected.codes - expected.zero_point)


def test_a_token_is_quantized_by_itself():
    quantizer = activation(4, scale="per_token")
    x = torch.randn(2, 3, 8)
    together, alone = quantizer(x), quantizer(x[1:, 2:])
    assert together.scale.shape == (2, 3, 1)
    assert torch.equal(together.codes[1:, 2:], alone.codes)
    assert torch.equal(together.scale[1:, 2:], alone.scale)
