"""Rounding to a grid and its two gradients, against float64 arithmetic written from the formulas."""

import pytest
import torch

from bitbert.quantizers.ste import Grid, RoundToGrid, ScaleGradient, StraightThrough, round_to_dtype

MID_TREAD = Grid(-7, 7)
MID_RISE = Grid(-3, 3, True)
SIGN = Grid(-1, 1, True)
SHIFTED = Grid(-5, 10)


@pytest.mark.parametrize(
    ("t", "code"), [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (6.5, 6), (7.5, 7), (99.0, 7), (-99.0, -7)]
)
def test_ties_go_to_the_even_code(t, code):
    assert MID_TREAD.nearest(torch.tensor(t)) == code


@pytest.mark.parametrize(
    ("t", "code"), [(0.0, 1), (-0.0, 1), (1e-30, 1), (-1e-30, -1), (1.9, 1), (2.0, 3), (-1.9, -1), (-2.0, -3), (9.0, 3)]
)
def test_odd_codes_have_no_zero(t, code):
    assert MID_RISE.nearest(torch.tensor(t)) == code


@pytest.mark.parametrize(("t", "code"), [(0.0, 1), (-0.0, 1), (-1e-38, -1), (5.0, 1), (-5.0, -1)])
def test_one_bit_is_the_sign(t, code):
    assert SIGN.nearest(torch.tensor(t)) == code


def test_grids_may_change_from_row_to_row():
    high = torch.tensor([[1.0], [3.0], [7.0]])
    mixed = Grid(-high, high, torch.tensor([[True], [True], [False]]))
    t = torch.linspace(-9, 9, 101).expand(3, -1)
    expected = torch.stack([SIGN.nearest(t[0]), MID_RISE.nearest(t[1]), MID_TREAD.nearest(t[2])])
    assert torch.equal(mixed.nearest(t), expected)


def expected_gradients(t, g, grid, clip):
    """dL/dx and dL/ds of Esser et al. (2020), equation 3, element by element in float64."""
    grad_x, grad_s = [], 0.0
    for ti, gi in zip(t.flatten().tolist(), g.flatten().tolist(), strict=True):
        code = grid.nearest(torch.tensor(ti, dtype=torch.float64)).item()
        inside = grid.low <= ti <= grid.high
        grad_x.append(gi if inside or not clip else 0.0)
        grad_s += gi * (code - ti if inside else code)
    return torch.tensor(grad_x).view_as(g), grad_s


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("grid", [MID_TREAD, MID_RISE, SIGN, SHIFTED], ids=str)
def test_gradients(grid, clip):
    generator = torch.Generator().manual_seed(0)
    x, g = (torch.randn(11, 13, generator=generator) for _ in range(2))
    scale = torch.tensor([0.125], requires_grad=True)  # a power of two: x / scale is exact
    x.requires_grad_()
    RoundToGrid.apply(x, scale, grid, clip, True, torch.float32).backward(g)
    grad_x, grad_s = expected_gradients(x.detach() / 0.125, g, grid, clip)
    assert torch.equal(x.grad, grad_x)
    terms = g.abs().sum() * (grid.high - grid.low)
    assert abs(scale.grad.item() - grad_s) <= x.numel() * 2.0**-24 * terms


def test_the_ends_of_the_grid_are_inside():
    x = torch.tensor([-7.0, 7.0, 7.0001, -7.0001], requires_grad=True)
    RoundToGrid.apply(x, torch.ones(1), MID_TREAD, True, False, torch.float32).sum().backward()
    assert x.grad.tolist() == [1, 1, 0, 0]


def test_a_scale_a_row_sums_its_row():
    x, g = torch.randn(4, 50), torch.randn(4, 50)
    scale = torch.full((4, 1), 0.25, requires_grad=True)
    RoundToGrid.apply(x, scale, MID_TREAD, True, True, torch.float32).backward(g)
    for row in range(4):
        alone = torch.full((1, 1), 0.25, requires_grad=True)
        RoundToGrid.apply(x[row : row + 1], alone, MID_TREAD, True, True, torch.float32).backward(g[row : row + 1])
        torch.testing.assert_close(scale.grad[row], alone.grad[0])


def test_codes_from_elsewhere_pass_the_gradient_on():
    x, g = torch.randn(5, requires_grad=True), torch.randn(5)
    codes = StraightThrough.apply(x, torch.ones(5))
    assert codes.tolist() == [1] * 5
    codes.backward(g)
    assert torch.equal(x.grad, g)


def test_a_gradient_is_scaled_unit_by_unit():
    x = torch.ones(2, requires_grad=True)
    ScaleGradient.apply(x, torch.tensor([0.5, 3.0])).sum().backward()
    assert x.grad.tolist() == [0.5, 3.0]


def test_rounding_to_file_precision_is_straight_through():
    x = torch.tensor([0.1, 1 / 3, 1e-6], requires_grad=True)
    rounded = round_to_dtype(x, torch.float16)
    assert torch.equal(rounded.detach(), x.detach().half().float())
    rounded.sum().backward()
    assert x.grad.tolist() == [1, 1, 1]
