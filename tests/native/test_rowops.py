"""Operations on one row of floats: every instruction set has the bits of the numpy reference, at every size."""

import numpy as np
import pytest

from bitbert.runtime import reference
from bitbert.runtime.functions import fma
from bitbert.spec import CodeGrid
from support.kernel_cases import SIZES, assert_same_bits, every_isa

GRIDS = [
    CodeGrid(1, 255, 128),
    CodeGrid(0, 255, 77),
    CodeGrid(121, 135, 128),
    CodeGrid(-7, 7, 0),
    CodeGrid(0, 15, 15),
    CodeGrid(127, 129, 128, 2),
    CodeGrid(-1, 1, 0, 2),
]
ODD_VALUES = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38], np.float32)


def floats(n, seed=0, scale=1.0):
    return (scale * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


def as_tuple(scale, grid):
    return float(np.float32(scale)), grid.zero_point, grid.low, grid.high, grid.step


def low_bytes(codes):
    return np.asarray(codes, np.int32).astype(np.uint8)


@every_isa
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_quantize(kernels, grid):
    for n in SIZES:
        x = floats(n, n)
        expected = reference.quantize_static(x, np.float32(0.0173), grid).codes
        np.testing.assert_array_equal(kernels.quantize(x, as_tuple(0.0173, grid)), low_bytes(expected))


@every_isa
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_quantize_ties_and_odd_values(kernels, grid):
    x = np.concatenate([np.arange(-300, 300, 0.5, np.float32) / 4, ODD_VALUES])
    with np.errstate(over="ignore"):
        expected = reference.quantize_static(x, np.float32(0.25), grid).codes
    np.testing.assert_array_equal(kernels.quantize(x, as_tuple(0.25, grid)), low_bytes(expected))


@every_isa
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_quantize_per_token(kernels, bits, symmetric):
    top = 2 ** (bits - 1) - 1
    grid = CodeGrid(128 - top, 128 + top, 128) if symmetric else CodeGrid(0, 2**bits - 1, 0)
    for n in SIZES:
        for x in (floats(n, n), np.abs(floats(n, n)) + 1, -np.abs(floats(n, n)), np.zeros(n, np.float32)):
            expected = reference.quantize_per_token(x[None], symmetric, grid)
            codes, scale, zero_point = kernels.quantize_per_token(x, symmetric, grid.high)
            np.testing.assert_array_equal(codes, expected.codes[0])
            assert_same_bits(scale, expected.scale[0, 0])
            assert zero_point == (expected.zero_point[0, 0] if not symmetric else 128)


@every_isa
@pytest.mark.parametrize("with_residual", [False, True])
def test_layer_norm(kernels, with_residual):
    for n in SIZES:
        x, residual, gamma, beta = (floats(n, seed) for seed in range(4))
        h = x + residual if with_residual else x
        expected = reference.layer_norm(h, gamma, beta, np.float32(1e-12))
        assert_same_bits(kernels.layer_norm(x, residual if with_residual else None, gamma, beta, 1e-12), expected)


@every_isa
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_layer_norm_with_codes(kernels, grid):
    for n in SIZES:
        x, gamma, beta = floats(n, 1), floats(n, 2), floats(n, 3)
        out, codes = kernels.layer_norm_codes(x, gamma, beta, 1e-12, as_tuple(0.0173, grid))
        assert_same_bits(out, kernels.layer_norm(x, None, gamma, beta, 1e-12))
        np.testing.assert_array_equal(codes, kernels.quantize(out, as_tuple(0.0173, grid)))


@every_isa
def test_translate(kernels):
    rng = np.random.default_rng(0)
    table = rng.integers(0, 256, 256, np.uint8)
    for n in SIZES:
        codes = rng.integers(0, 256, n, np.uint8)
        np.testing.assert_array_equal(kernels.translate(codes, table), table[codes])


@every_isa
@pytest.mark.parametrize("grid", [CodeGrid(0, 255, 0), CodeGrid(0, 127, 0), CodeGrid(0, 1, 0)], ids=str)
def test_softmax(kernels, grid):
    for n in SIZES:
        for scale in (0.01, 3.0, 100.0):
            scores = floats(n, n, scale)
            expected = reference.softmax_codes(scores, np.float32(1 / grid.high), grid)
            np.testing.assert_array_equal(kernels.softmax_quantize(scores, as_tuple(1 / grid.high, grid)), expected)


@every_isa
def test_dot(kernels):
    for n in SIZES:
        x, y = floats(n, n), floats(n, n + 1)
        assert_same_bits(kernels.dot(x, y), reference.dot(x, y))


@every_isa
def test_embed(kernels):
    for n in SIZES:
        codes = np.random.default_rng(n).integers(-127, 128, (3, n)).astype(np.int8)
        word, token_type, position = codes.astype(np.float32)
        w, t, p = np.float32(0.017), np.float32(0.003), np.float32(0.21)
        expected = fma(position, p, fma(token_type, t, word * w))
        assert_same_bits(kernels.embed(codes, (float(w), float(t), float(p))), expected)
