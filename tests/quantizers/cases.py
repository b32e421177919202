"""What the quantizer tests run on: every kind of weight quantizer, random matrices, and slow float64 arithmetic."""

import numpy as np
import torch
from hypothesis import strategies as st

from bitbert.quantizers import make_weight
from bitbert.spec import WeightSpec, code_range, row_groups

METHODS = ("minmax", "learned_range", "lsq", "mse_gradient")
# (method, bits, grid); 1 bit is mid-rise and 3 bits or more are mid-tread whatever the grid says.
KINDS = [
    *((method, bits, "mid_tread") for method in METHODS for bits in range(1, 9)),
    *((method, 2, "mid_rise") for method in METHODS),
    ("ternary", 2, "mid_tread"),
    ("binary", 1, "mid_tread"),
]
GRANULARITIES = ("tensor", "row", "row_group")

# One rounding of float32.
U = 2.0**-24


def quantizer_of(weight, spec, head_dim=None, leftovers="float16"):
    """A quantizer fitted to `weight` (rows, columns)."""
    quantizer = make_weight(spec, row_groups(len(weight), head_dim), leftovers)
    quantizer.initialize(weight)
    return quantizer


def value(quantized):
    """codes * scale."""
    return quantized.codes.detach() * quantized.scale


@st.composite
def matrices(draw):
    """Matrices whose scales are normal float16 numbers, with zeros of both signs and numbers that tie among them.

    Below 2^-14 float16 loses digits, and a scale that is off by half a step in 127 no longer spans its tensor.
    """
    rows = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([0.05, 1.0, 30.0]))
    weight = rng.standard_normal((rows, draw(st.integers(1, 20)))) * spread
    some = rng.random(weight.shape)
    weight = np.where(some < 0.1, np.round(weight / spread * 2) / 2 * spread, weight)
    weight = np.where(some > 0.95, rng.choice([0.0, -0.0], weight.shape), weight)
    weight[:, 0] = np.where(np.abs(weight[:, 0]) < 0.02, 0.02, weight[:, 0])
    return torch.from_numpy(weight.astype(np.float32))


def grid_points(bits, grid):
    """All codes of a grid, in float64."""
    low, high, step = code_range(bits, grid)
    return torch.arange(low, high + 1, step, dtype=torch.float64)


def spec_of(kind, **options):
    """A `WeightSpec` from a member of `KINDS`."""
    method, bits, grid = kind
    return WeightSpec(bits, method, grid, **options)
