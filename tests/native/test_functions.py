"""exp, erf, tanh and the activations: accurate, and the same bits in numpy and every instruction set."""

import math

import numpy as np
import pytest

from bitbert.runtime import functions
from support.kernel_cases import SIZES, assert_same_bits, every_isa

EPSILON = 2.0**-24  # half a unit in the last place of 1: one rounding

SPECIAL = np.float32([0, 1e-45, 1e-38, np.nextafter(np.float32(1), 0), 1, 4, 86, 90, 3e38, np.inf, np.nan])


def inputs(name, n, seed):
    """Floats of all magnitudes that matter; exp is defined for x <= 0."""
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal(n) * 2.0 ** rng.integers(-12, 6, n)).astype(np.float32)
    x[: 2 * len(SPECIAL)] = rng.permutation(np.append(SPECIAL, -SPECIAL))[: len(x)]
    return -np.abs(x) if name == "exp" else x


@every_isa
@pytest.mark.parametrize("name", ["exp", "erf", "tanh", "gelu", "gelu_tanh", "relu"])
def test_bits_of_the_reference(kernels, name):
    for n in (*SIZES, 5000):
        x = inputs(name, n, n)
        with np.errstate(all="ignore"):
            expected = getattr(functions, name)(x)
        assert_same_bits(getattr(kernels, name)(x), expected)


def spread(low, high, n=20001):
    return np.linspace(low, high, n, dtype=np.float32)


def test_exp_is_accurate():
    x = spread(-86, 0)
    relative = functions.exp(x) / np.exp(x.astype(np.float64)) - 1
    assert np.abs(relative).max() < 1.5 * EPSILON  # the last fma, and half as much of the steps before


def test_erf_is_accurate():
    x = spread(1e-3, 5)
    exact = np.array([math.erf(v) for v in x.tolist()])
    assert np.abs(functions.erf(x) / exact - 1).max() < 1.5 * EPSILON


def test_tanh_is_accurate():
    x = spread(-20, 20)
    assert np.abs(functions.tanh(x) - np.tanh(x.astype(np.float64))).max() < 2 * EPSILON


def test_gelu_is_accurate():
    x = spread(-8, 8)
    exact = np.array([0.5 * v * (1 + math.erf(v * math.sqrt(0.5))) for v in x.tolist()])
    assert (np.abs(functions.gelu(x) - exact) <= 4 * EPSILON * np.maximum(np.abs(x) / 2, 2.0**-10)).all()


def test_fma_rounds_once():
    rng = np.random.default_rng(0)
    x, y, z = (rng.standard_normal(2000).astype(np.float32) for _ in range(3))
    z *= 2.0 ** rng.integers(-40, 20, 2000).astype(np.float32)
    for result, a, b, c in zip(functions.fma(x, y, z).tolist(), x.tolist(), y.tolist(), z.tolist(), strict=True):
        exact = exact_integer(a) * exact_integer(b) + exact_integer(c) * SCALE
        assert result == nearest_float32(exact)


def test_fma_sees_through_a_double_rounding():
    # 1 + 2^-24 is a tie of float32; 2^-60 more breaks it, but is lost if the sum is first rounded to float64.
    assert functions.fma(np.float32(2.0**-30), np.float32(2.0**-30), np.float32(1 + 2.0**-23)) == 1 + 2.0**-23
    tie = functions.fma(np.float32(1 + 2.0**-12), np.float32(1 + 2.0**-12), np.float32(2.0**-60))
    assert tie == np.float32(1 + 2.0**-11 + 2.0**-23)


SCALE = 2**149  # every finite float32 is a whole multiple of 1 / SCALE


def exact_integer(x):
    """X * 2^149 as an integer."""
    numerator, denominator = x.as_integer_ratio()
    return numerator * SCALE // denominator


def nearest_float32(value):
    """The float32 nearest to value / 2^298, ties to even."""
    if value == 0:
        return 0.0
    shift = max(abs(value).bit_length() - 24, 149)
    quotient, remainder = divmod(abs(value), 1 << shift)
    half = 1 << (shift - 1)
    quotient += remainder > half or (remainder == half and quotient % 2 == 1)
    return math.copysign(math.ldexp(quotient, shift - 298), value)
