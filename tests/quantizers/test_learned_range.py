"""KDLSQ's learned range: both gradients and both initialisations against direct transcriptions in float64."""

import math

import numpy as np
import pytest
import torch

from bitbert.quantizers import make_activation
from bitbert.quantizers.learned_range import histogram, mse, mse_ends, percentile
from bitbert.spec import ActivationSpec, WeightSpec
from quantizers.cases import quantizer_of


def kdlsq(x, g, alpha, n, mask):
    """Value, dL/dx and dL/dalpha of alpha * round(n clip(x / alpha, -1, 1)) / n, as the paper's code has them."""
    u = np.asarray(x, np.float64) / alpha
    rounded = np.rint(n * np.clip(u, -1, 1)) / n
    grad_alpha = g * np.where(np.abs(u) > 1, np.sign(u), rounded - u)
    return alpha * rounded, np.where((np.abs(u) <= 1) | (not mask), g, 0), grad_alpha


def numbers(shape, seed=0):
    """Two float32 arrays, about a tenth of the first beyond 1.6."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape).astype(np.float32) for _ in range(2))


def assert_sums(actual, terms, axis):
    """`actual` is the sum of `terms` over `axis`, up to one rounding a term."""
    bound = 2.0**-24 * terms.shape[-1] * terms.shape[0] * np.abs(terms).sum(axis)
    assert (np.abs(actual.numpy() - terms.sum(axis)) <= bound).all()


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("granularity", ["tensor", "row"])
def test_weights(bits, granularity):
    """Not masked by the clip; the gradient of alpha has no factor."""
    x, g = numbers((12, 40), bits)
    n = 2 ** (bits - 1) - 1
    quantizer = quantizer_of(torch.from_numpy(x), WeightSpec(bits, "learned_range", granularity=granularity))
    alpha = n * 2.0 ** round(math.log2(1.6 / n))  # the step is a power of two: exact in float16, and so is x / step
    quantizer.alpha.data.fill_(alpha)
    weight = torch.from_numpy(x).requires_grad_()
    codes, scale, _ = quantizer(weight)
    codes.backward(torch.from_numpy(g))
    value, grad_x, grad_alpha = kdlsq(x, g, alpha, n, mask=False)
    np.testing.assert_array_equal((codes.detach() * scale).numpy(), value.astype(np.float32))
    np.testing.assert_array_equal(weight.grad.numpy(), grad_x)
    assert_sums(quantizer.alpha.grad, grad_alpha, axis=None if granularity == "tensor" else 1)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_activations(bits):
    """Masked where the number was clipped."""
    x, g = numbers((6, 50), bits)
    n = 2 ** (bits - 1) - 1
    quantizer = make_activation(ActivationSpec(bits, "learned_range"), "linear_input", "float16")
    alpha = n * 2.0 ** round(math.log2(1.6 / n))
    quantizer.alpha.data.fill_(alpha)
    activation = torch.from_numpy(x).requires_grad_()
    codes, scale, _ = quantizer(activation)
    codes.backward(torch.from_numpy(g))
    value, grad_x, grad_alpha = kdlsq(x, g, alpha, n, mask=True)
    np.testing.assert_array_equal((codes.detach() * scale).numpy(), value.astype(np.float32))
    np.testing.assert_array_equal(activation.grad.numpy(), grad_x)
    assert (grad_x == 0).any()
    assert_sums(quantizer.alpha.grad, grad_alpha, axis=None)


def slow_percentile(x):
    """Drop 2.5 % of the sorted numbers at each end; the larger of what is outermost then."""
    ordered = sorted(x.flatten().tolist())
    dropped = int(0.025 * len(ordered))
    kept = ordered[dropped : len(ordered) - dropped]
    return max(abs(kept[0]), abs(kept[-1]))


@pytest.mark.parametrize("count", [1, 3, 39, 40, 41, 1000])
def test_percentile(count):
    x = torch.randn(count, generator=torch.Generator().manual_seed(count))
    assert percentile(x, 7).item() == slow_percentile(x)


def resample(values, points):
    """Linear interpolation at `points` evenly spaced places from the first to the last value."""
    places = np.linspace(0, len(values) - 1, points)
    return np.interp(places, np.arange(len(values)), values)


def slow_distances(x, bits):
    """KDLSQ's rule transcribed: clip candidate -> distance, and the width of a bin."""
    magnitude = np.abs(np.asarray(x, np.float64)).ravel()
    bins, m = int(math.sqrt(len(magnitude))), 2 ** (bits - 1)
    width = magnitude.max() / bins
    counts, _ = np.histogram(magnitude, bins, (0, magnitude.max()))
    c = np.cumsum(counts / counts.sum())
    distances = {}
    for i in range(m + 1, bins + 1):
        p = c.copy()
        p[i - 1 :] = 1
        q = resample(resample(p[:i], m), i)
        true, coarse = np.maximum(c[:i], 1e-12), np.maximum(q, 1e-12)
        distances[i] = float(((true - coarse) * np.log2(true / coarse)).sum())
    return distances, width


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_histogram(bits, seed):
    x = np.random.default_rng(seed).standard_t(4, 2500).astype(np.float32)
    distances, width = slow_distances(x, bits)
    alpha = histogram(torch.from_numpy(x), 2 ** (bits - 1) - 1).item()
    clip = round(alpha / width - 0.5)
    top = np.abs(x).max()
    assert alpha == pytest.approx(min((clip + 0.5) * width, top), rel=1e-6)
    if alpha < top:
        # each of 50 terms carries a few roundings of float32
        assert distances[clip] <= min(distances.values()) + 50 * 8 * 2.0**-24


@pytest.mark.parametrize("x", [torch.zeros(1000), torch.linspace(-3, 2, 20)])
def test_histogram_with_nothing_to_search_takes_the_maximum(x):
    assert histogram(x, 7) == x.abs().max()


@pytest.mark.parametrize("levels", [1, 3, 7, 127])
@pytest.mark.parametrize("freedom", [3, 30])
def test_mse_is_near_the_best_range(levels, freedom):
    """At most 2 % more squared error than the best of 1,000 ranges."""
    x = np.random.default_rng(levels).standard_t(freedom, 15_000).astype(np.float32)

    def error(alpha):
        step = alpha / levels
        return np.square(x - step * np.clip(np.rint(x / step), -levels, levels)).mean()

    best = min(error(alpha) for alpha in np.geomspace(x.std() / 2, np.abs(x).max(), 1000))
    assert error(mse(torch.from_numpy(x), levels).item()) <= 1.02 * best


def test_mse_of_zeros():
    assert mse(torch.zeros(10), 7) == 0


@pytest.mark.parametrize("rule", [percentile, histogram, mse])
@pytest.mark.parametrize("granularity", ["tensor", "row", "row_group"])
def test_every_unit_gets_its_own_start(rule, granularity):
    weight = torch.randn(36, 400, generator=torch.Generator().manual_seed(0)) * torch.linspace(1, 2, 36)[:, None]
    quantizer = quantizer_of(weight, WeightSpec(4, "learned_range", granularity=granularity))
    quantizer.init = rule.__name__
    quantizer.initialize(weight)
    parts = {"tensor": [weight], "row": list(weight), "row_group": list(weight.split(16))}[granularity]
    assert quantizer.alpha.tolist() == [rule(part, 7).item() for part in parts]


@pytest.mark.parametrize("granularity", ["row", "row_group"])
def test_rows_of_one_bit_start_where_their_squared_error_is_smallest(granularity):
    weight = torch.randn(32, 400, generator=torch.Generator().manual_seed(0))
    quantizer = quantizer_of(weight, WeightSpec(None, "learned_range", granularity=granularity, group_bits=(1, 4)))
    quantizer.initialize(weight)
    codes, scale, _ = quantizer(weight)
    assert set(codes[:16].unique().tolist()) == {-1, 1}
    errors = [(codes * s - weight)[:16].square().sum().item() for s in (scale, 0.98 * scale, 1.02 * scale)]
    assert errors[0] == min(errors)


def test_calibration_with_a_zero_point_spans_the_percentiles():
    quantizer = make_activation(ActivationSpec(4, "learned_range", symmetric=False), "linear_input", "float16")
    quantizer.calibrating = True
    x = torch.linspace(-1, 4, 1001)
    assert torch.equal(quantizer(x).codes, x)
    quantizer.calibrating = False
    quantizer.finish_calibration()
    low, high = -1 + 24 * 0.005, 4 - 24 * 0.005  # 25 of 1003 dropped at each end, which the sample has twice
    assert quantizer.alpha.item() == pytest.approx(high - low, rel=1e-5)
    assert quantizer.zero_point == round(-low / (high - low) * 15)
    codes = quantizer(x).codes
    assert codes.min() == -quantizer.zero_point
    assert codes.max() == 15 - quantizer.zero_point


def test_calibration_by_minmax_spans_all_that_was_seen():
    x = torch.linspace(-1, 4, 1001)
    for symmetric, expected in ((False, 5.0), (True, 4.0)):
        quantizer = make_activation(ActivationSpec(4, "learned_range", symmetric=symmetric), "linear_input", "float16")
        quantizer.init, quantizer.calibrating = "minmax", True
        quantizer(x)
        quantizer.calibrating = False
        quantizer.finish_calibration()
        assert quantizer.alpha.item() == expected
        assert quantizer.zero_point == (8 if symmetric else 3) + (120 if symmetric else 0)


def test_alpha_stays_positive():
    quantizer = quantizer_of(torch.randn(4, 4), WeightSpec(4, "learned_range"))
    quantizer.alpha.data.fill_(-1)
    quantizer.clamp_()
    codes, scale, _ = quantizer(torch.randn(4, 4))
    assert scale > 0
    assert torch.isfinite(codes).all()


@pytest.mark.parametrize("levels", [15, 255])
def test_ends_with_the_smallest_error(levels):
    """One outlier on one side: within a few percent of the best of all pairs of ends."""
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(20_000, generator=generator), torch.tensor([28.0])])

    def error(low, high):
        step = (high - low) / levels
        zero_point = round(-low / step)
        return (((x / step).round().clamp(-zero_point, levels - zero_point) * step) - x).square().sum().item()

    low, high = (float(end) for end in mse_ends(x, levels))
    pairs = [(-a, b) for a in np.linspace(0.5, 4.5, 33) for b in np.linspace(0.5, 28, 56)]
    assert error(low, high) < 1.05 * min(error(*pair) for pair in pairs)
    assert error(low, high) < error(float(x.min()), 28.0)


def test_ends_of_numbers_on_one_side():
    low, high = mse_ends(torch.linspace(0, 3, 1000), 15)
    assert low == 0
    assert high == pytest.approx(3, rel=0.1)
