"""MKQ's range: the gradient of the squared error whatever comes from above, the paper's example, and both starts."""

import numpy as np
import pytest
import torch

from bitbert.quantizers import make_activation
from bitbert.spec import ActivationSpec, WeightSpec, row_groups
from quantizers.cases import quantizer_of


def error_slope(x, step, low, high):
    """d/ds sum (s clamp(round(x / s)) - x)^2 in float64."""
    x = np.asarray(x, np.float64)
    codes = np.clip(np.rint(x / step), low, high)
    return (2 * (step * codes - x) * codes).sum()


def numbers(shape, seed=0):
    rng = np.random.default_rng(seed)
    return (torch.from_numpy(rng.standard_normal(shape).astype(np.float32)) for _ in range(2))


def test_the_example_of_the_paper():
    """x = (0.2, 0.9), s = 1: the task's rule lets s grow, this one lets it shrink to 0.9."""
    x = torch.tensor([[0.2, 0.9]])
    quantizer = quantizer_of(x, WeightSpec(4, "mse_gradient"))
    quantizer.alpha.data.fill_(7.0)
    quantizer(x).codes.sum().backward()
    assert 7 * quantizer.alpha.grad.item() == pytest.approx(0.2)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("upstream", [1.0, -3.0])
def test_weights(bits, upstream):
    x, g = numbers((12, 30), bits)
    top = 2 ** (bits - 1) - 1
    quantizer = quantizer_of(x, WeightSpec(bits, "mse_gradient"))
    step = 2.0 ** round(np.log2(1.6 / top))
    quantizer.alpha.data.fill_(top * step)
    weight = x.clone().requires_grad_()
    quantizer(weight).codes.backward(upstream * g)
    slope = error_slope(x, step, -top, top)
    assert top * quantizer.alpha.grad.item() == pytest.approx(slope, rel=1e-4, abs=1e-4)
    inside = (x / step).abs() <= top
    assert torch.equal(weight.grad, upstream * g * inside)
    assert bits == 8 or not inside.all()


def test_following_the_slope_finds_the_smallest_error():
    x, _ = numbers((64, 64))
    quantizer = quantizer_of(x, WeightSpec(3, "mse_gradient"), leftovers="float32")
    optimizer = torch.optim.Adam([quantizer.alpha], lr=3e-2)
    for _ in range(200):
        optimizer.zero_grad()
        quantizer(x).codes.sum().backward()
        optimizer.step()
    errors = {step: ((x / step).round().clamp(-3, 3) * step - x).square().mean() for step in np.linspace(0.3, 1.2, 91)}
    assert quantizer.alpha.item() / 3 == pytest.approx(min(errors, key=errors.get), abs=0.05)


def test_every_unit_has_its_own():
    x, g = numbers((26, 10))
    groups, bits = row_groups(26, 13), (4, 8)
    spec = WeightSpec(method="mse_gradient", granularity="row_group", group_bits=bits)
    quantizer = quantizer_of(x, spec, head_dim=13)
    tops = [2 ** (width - 1) - 1 for width in bits]
    quantizer.alpha.data.copy_(0.25 * torch.tensor(tops))
    quantizer(x).codes.backward(g)
    for (start, count), top, grad in zip(groups, tops, quantizer.alpha.grad.tolist(), strict=True):
        expected = error_slope(x[start : start + count], 0.25, -top, top)
        assert top * grad == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("symmetric", "low", "high"), [(True, -7, 7), (False, -5, 10)])
def test_activations(symmetric, low, high):
    x, g = numbers((8, 30))
    quantizer = make_activation(ActivationSpec(4, "mse_gradient", symmetric=symmetric), "linear_input", "float16")
    quantizer.alpha.data.fill_(0.125 * quantizer.levels)
    if not symmetric:
        quantizer.zero_point.fill_(5)
    activation = x.clone().requires_grad_()
    quantizer(activation).codes.backward(g)
    slope = error_slope(x, 0.125, low, high)
    assert quantizer.levels * quantizer.alpha.grad.item() == pytest.approx(slope, rel=1e-4)
    assert torch.equal(activation.grad, g * ((x / 0.125 >= low) & (x / 0.125 <= high)))


def test_the_rows_of_a_table_that_are_looked_up():
    table, _ = numbers((20, 15))
    quantizer = quantizer_of(table, WeightSpec(4, "mse_gradient"))
    ids = torch.tensor([[3, 7], [3, 19]])
    quantizer.gather(table, ids).codes.sum().backward()
    expected = error_slope(table[ids.flatten()], quantizer(table).scale.item(), -7, 7)
    assert 7 * quantizer.alpha.grad.item() == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_starts():
    weight, _ = numbers((20, 15))
    rows = quantizer_of(weight, WeightSpec(4, "mse_gradient", granularity="row"))
    assert rows.alpha.tolist() == pytest.approx(weight.abs().amax(1).tolist())
    x = torch.linspace(-1, 4, 50_000)
    for symmetric, alpha in ((True, 4), (False, 5)):
        quantizer = make_activation(ActivationSpec(4, "mse_gradient", symmetric=symmetric), "linear_input", "float16")
        quantizer.calibrating = True
        quantizer(torch.cat([x, torch.tensor([1000.0])]))  # beyond 0.01 % of the sample
        quantizer.calibrating = False
        quantizer.finish_calibration()
        assert quantizer.alpha.item() == pytest.approx(alpha, rel=1e-3)
    assert quantizer.zero_point == 3
