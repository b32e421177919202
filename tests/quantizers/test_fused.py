"""The fused CPU passes do what the tensor operations do: codes equal, gradients apart by the order of a sum."""

import pytest
import torch

from bitbert.quantizers import fused
from bitbert.quantizers.ste import Grid, RoundToGrid

SHAPES = [(1,), (17,), (3, 5), (2, 3, 31), (7, 4099), (70001,)]


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def run(x, scale, grid, clip, learned, grad):
    """Codes, and gradients of x and scale, in bfloat16 as under autocast."""
    x, scale = x.detach().requires_grad_(), scale.clone().requires_grad_()
    codes = RoundToGrid.apply(x, scale, grid, clip, learned, torch.bfloat16)
    codes.backward(grad)
    return codes.detach(), x.grad, scale.grad


def plain(monkeypatch, *args):
    with monkeypatch.context() as patch:
        patch.setattr(fused, "applies", lambda x, dtype: False)
        return run(*args)


def assert_same(one, other, grad, grid):
    codes, grad_x, grad_scale = one
    assert torch.equal(codes, other[0])
    assert torch.equal(grad_x, other[1])
    if grad_scale is None:
        assert other[2] is None
        return
    # Both add n products of a gradient and at most the largest code; each addition and each product rounds once.
    n = grad.numel() / grad_scale.numel()
    terms = grad.float().abs().sum() * max(-grid.low, grid.high)
    assert (grad_scale - other[2]).abs().max() <= 2 * (n + 1) * 2.0**-24 * terms


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("clip", [True, False])
def test_one_scale(monkeypatch, threads, shape, clip):
    generator = torch.Generator().manual_seed(0)
    x, grad = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator).bfloat16()
    for grid in (Grid(-7, 7), Grid(0, 255), Grid(-127.0, 127.0)):
        case = (x, torch.tensor([0.21]), grid, clip, True, grad)
        assert fused.applies(x, torch.bfloat16)
        assert_same(run(*case), plain(monkeypatch, *case), grad, grid)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (33, 311)], ids=str)
def test_a_scale_a_row(monkeypatch, threads, shape):
    generator = torch.Generator().manual_seed(1)
    x, grad = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator).bfloat16()
    scale = 0.1 + torch.rand(shape[0], 1, generator=generator)
    for learned in (True, False):
        case = (x, scale, Grid(-7, 7), True, learned, grad)
        assert_same(run(*case), plain(monkeypatch, *case), grad, Grid(-7, 7))


def test_ties_and_clipped_numbers(monkeypatch):
    x = torch.arange(-40, 40) / 4
    case = (x, torch.tensor([0.5]), Grid(-7, 7), True, True, torch.ones(80).bfloat16())
    assert_same(run(*case), plain(monkeypatch, *case), case[-1], Grid(-7, 7))


def test_threads_do_not_change_a_bit():
    x, grad = torch.randn(100_003), torch.randn(100_003).bfloat16()
    before, results = torch.get_num_threads(), []
    for threads in (1, 2, 1):
        torch.set_num_threads(threads)
        results.append(run(x, torch.tensor([0.1]), Grid(-127, 127), True, True, grad))
    torch.set_num_threads(before)
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


def test_strided_numbers_take_the_other_way():
    x, grad = torch.randn(20, 30), torch.randn(30, 20).bfloat16()
    assert not fused.applies(x.t(), torch.bfloat16)
    strided = run(x.t(), torch.tensor([0.1]), Grid(-7, 7), True, True, grad)
    dense = run(x.t().contiguous(), torch.tensor([0.1]), Grid(-7, 7), True, True, grad)
    assert_same(strided, dense, grad, Grid(-7, 7))


def test_strided_gradients_are_read_in_order(monkeypatch):
    x, grad = torch.randn(20, 30), torch.randn(30, 20).bfloat16().t()
    case = (x, torch.tensor([0.1]), Grid(-7, 7), True, True, grad)
    assert_same(run(*case), plain(monkeypatch, *case), grad, Grid(-7, 7))


def test_float32_codes_take_the_other_way():
    assert not fused.applies(torch.ones(3), torch.float32)
    assert not fused.applies(torch.ones(3, dtype=torch.float64), torch.bfloat16)
