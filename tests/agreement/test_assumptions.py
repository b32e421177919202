"""What docs/numerics.md, "Agreement", asks of torch's float32 functions, measured against float64.

torch promises no such bounds, so a new version of it, or another CPU, has to show them here first.
"""

import numpy as np
import pytest
import torch
from torch.nn.functional import gelu

from agreement import bounds


def spread(low, high, n=200_000):
    return torch.linspace(low, high, n)


def error(function, x):
    """|float32 - float64| of a function of float32 numbers, and the float64 result."""
    exact = function(x.double())
    return (function(x).double() - exact).abs(), exact


def test_exp_inside_softmax():
    x = torch.stack([spread(-80, 0), torch.zeros(200_000)], dim=1)
    difference, exact = error(lambda s: s.softmax(-1), x)
    # exp above and below (its argument 0 gives 1), sum, quotient
    assert (difference <= (2 * bounds.TORCH_EXP + 2 * bounds.U) * exact).all()


@pytest.mark.parametrize("n", [7, 16, 61, 400])
def test_softmax_of_a_row(n):
    x = 4 * torch.randn(2000, n, generator=torch.Generator().manual_seed(n))
    difference, exact = error(lambda s: s.softmax(-1), x - x.amax(-1, keepdim=True))
    assert (difference <= (2 * bounds.TORCH_EXP + (n + 1) * bounds.U) * exact).all()


@pytest.mark.parametrize("form", ["none", "tanh"])
def test_gelu(form):
    x = torch.cat([spread(-30, 30), spread(-1e-3, 1e-3, 1001)])
    difference, _ = error(lambda v: gelu(v, approximate=form), x)
    assert (difference <= bounds.TORCH_GELU * x.abs()).all()


def test_tanh():
    difference, _ = error(torch.tanh, spread(-20, 20))
    assert (difference <= bounds.TORCH_TANH).all()


@pytest.mark.parametrize("shift", [0, 1, 8])
@pytest.mark.parametrize("n", [33, 64, 312, 384, 768, 1024])
def test_moments_of_layer_norm(n, shift):
    h = torch.randn(500, n, generator=torch.Generator().manual_seed(n)) + shift
    h[:100] *= torch.linspace(0, 30, n)  # a few large numbers among many small
    _, mean, rstd = torch.native_layer_norm(h, [n], None, None, 1e-12)
    wide = h.double()
    exact, sigma = wide.mean(-1, keepdim=True), wide.var(-1, unbiased=False, keepdim=True).sqrt()
    assert ((mean - exact).abs() <= bounds.TORCH_MEAN * wide.abs().mean(-1, keepdim=True)).all()
    ratio = wide.square().mean(-1, keepdim=True).sqrt() / sigma
    assert ((rstd * sigma - 1).abs() <= bounds.TORCH_RSTD * ratio).all()


def test_a_scale_is_inverted_alike():
    scale = torch.rand(100_000) + 2.0**-20
    np.testing.assert_array_equal(scale.reciprocal().numpy(), np.float32(1) / scale.numpy())
