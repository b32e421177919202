"""The integer product and its epilogue: every instruction set, every width, odd sizes and prime strides, exactly."""

import numpy as np
import pytest

from bitbert.checkpoint import packing
from bitbert.runtime.functions import fma
from bitbert.runtime.reference import quantize_static
from bitbert.spec import CodeGrid, code_range, row_groups
from support.kernel_cases import assert_same_bits, every_isa, native
from support.random_model import random_codes

# (bits, grid, packing)
WIDTHS = [
    *((bits, "mid_tread", "bits") for bits in range(9)),
    (2, "mid_rise", "bits"),
    (1, "mid_rise", "bits"),
    (2, "mid_tread", "base3"),
]
# (rows, inner size, outputs, rows of a head, stride)
SHAPES = [(1, 1, 1, 1, 64), (3, 26, 52, 26, 71), (7, 61, 33, 33, 67), (13, 64, 16, 16, 64), (25, 312, 40, 40, 331)]


class Case:
    """A linear layer on random codes, in numpy and as the engine has it."""

    def __init__(self, rng, shape, group_bits, grid, how):
        m, k, n, span, stride = shape
        self.groups = row_groups(n, span)
        self.row_bits = np.repeat(group_bits, [count for _, count in self.groups]).astype(np.uint8)
        self.weights = random_codes(rng, self.row_bits, k, grid)
        self.a = rng.integers(0, 256, (m, k), np.uint8)
        self.zero_point = rng.integers(0, 256, m, np.int32)
        self.row_scale = rng.uniform(0.001, 0.01, m).astype(np.float32)
        self.column_scale = np.where(self.row_bits > 0, rng.uniform(0.001, 0.01, n), 0).astype(np.float32)
        self.bias = rng.standard_normal(n).astype(np.float32)
        self.native = self.linear(
            packing.pack(self.weights, self.row_bits, grid, how), group_bits, grid, how, span, stride
        )

    def linear(self, packed, group_bits, grid, how, span, stride, bits=""):
        weight = (packed, np.asarray(group_bits, np.uint8), self.column_scale, grid, how)
        return native.LinearCase(self.a, self.zero_point, self.row_scale, weight, self.bias, span, stride, bits)

    def sums(self):
        signed = self.a.astype(np.int64) - self.zero_point[:, None]
        return signed @ self.weights.astype(np.int64).T

    def floats(self):
        bias = np.where(self.row_bits > 0, self.bias, np.float32(0))
        return fma(self.sums().astype(np.float32), self.row_scale[:, None] * self.column_scale, bias)


def uniform(rng, shape, bits, grid, how):
    return Case(rng, shape, [bits] * len(row_groups(shape[2], shape[3])), grid, how)


@every_isa
@pytest.mark.parametrize("width", WIDTHS, ids=str)
def test_every_width(kernels, width):
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        case = uniform(rng, shape, *width)
        np.testing.assert_array_equal(kernels.sums(case.native), case.sums())
        assert_same_bits(kernels.floats(case.native), case.floats())


@every_isa
def test_mixed_widths_in_one_matrix(kernels):
    rng = np.random.default_rng(1)
    for _ in range(20):
        m, k, heads = rng.integers(1, 40), rng.integers(1, 200), rng.integers(1, 4)
        span = int(rng.integers(1, 50))
        bits = rng.integers(0, 9, len(row_groups(span * heads, span)))
        case = Case(rng, (m, k, span * heads, span, k + 71), bits, rng.choice(["mid_tread", "mid_rise"]), "bits")
        assert_same_bits(kernels.floats(case.native), case.floats())


@every_isa
@pytest.mark.parametrize("rows", [1, 2, 7, 8, 9, 31, 300])
@pytest.mark.parametrize(("values", "codes", "zero_point"), [("signs", (127, 129), 128), ("zero_one", (0, 1), 0)])
def test_one_bit_times_one_bit(kernels, rows, values, codes, zero_point):
    for k, n, pruned in ((1, 5, 0), (31, 16, 0), (64, 33, 1), (312, 80, 2)):
        rng = np.random.default_rng(k)
        bits = [1] * len(row_groups(n, n))
        bits[:pruned] = [0] * pruned
        case = Case(rng, (rows, k, n, n, k + 64), bits, "mid_rise", "bits")
        case.zero_point[:] = zero_point
        case.a[:] = rng.choice(codes, case.a.shape)
        packed = packing.pack(case.weights, case.row_bits, "mid_rise", "bits")
        linear = case.linear(packed, bits, "mid_rise", "bits", n, k + 64, values)
        np.testing.assert_array_equal(kernels.sums(linear), case.sums())
        assert_same_bits(kernels.floats(linear), case.floats())


@every_isa
@pytest.mark.parametrize("rows", range(1, 40))
def test_every_number_of_rows(kernels, rows):
    case = uniform(np.random.default_rng(rows), (rows, 37, 48, 48, 71), 8, "mid_tread", "bits")
    np.testing.assert_array_equal(kernels.sums(case.native), case.sums())


@every_isa
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("sign", [-1, 1])
def test_largest_sums_are_exact(kernels, bits, sign):
    k = 65536 if bits == 8 else 1000
    case = uniform(np.random.default_rng(2), (2, k, 17, 17, k + 64), bits, "mid_tread", "bits")
    case.a[:], case.zero_point[:] = 255, (0, 255)
    case.weights[:] = sign * code_range(bits, "mid_tread")[1]
    packed = packing.pack(case.weights, case.row_bits, "mid_tread", "bits")
    linear = case.linear(packed, [bits] * 2, "mid_tread", "bits", 17, k + 64)
    np.testing.assert_array_equal(kernels.sums(linear), case.sums())


@every_isa
def test_quantized_output(kernels):
    rng = np.random.default_rng(3)
    for grid in (CodeGrid(1, 255, 128), CodeGrid(0, 15, 5), CodeGrid(127, 129, 128, 2)):
        case = uniform(rng, (14, 61, 45, 45, 67), 4, "mid_tread", "bits")
        expected = quantize_static(case.floats(), np.float32(0.03), grid).codes
        got = kernels.codes(case.native, (0.03, grid.zero_point, grid.low, grid.high, grid.step))
        np.testing.assert_array_equal(got, expected)


def test_codes_off_the_grid_are_refused():
    fields = np.array([0x03], np.uint8)  # 2-bit fields 3, 0, 0, 0; ternary has 0 to 2
    one = np.ones(1, np.float32)
    with pytest.raises(ValueError, match="weight: a code is outside the 2-bit grid"):
        native.LinearCase(
            np.zeros((1, 4), np.uint8),
            np.zeros(1, np.int32),
            one,
            (fields, np.array([2], np.uint8), one, "mid_tread", "bits"),
            one,
            1,
            64,
        )
