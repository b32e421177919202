"""LSQ: values, both gradients with the factor 1/sqrt(N Qp), and the start of the step, in float64 from the formulas."""

import math

import numpy as np
import pytest
import torch

from bitbert.quantizers import make_activation
from bitbert.spec import ActivationSpec, WeightSpec, row_groups
from quantizers.cases import quantizer_of


def lsq(x, g, step, low, high):
    """Value, dL/dx and the terms of dL/ds before the factor (Esser et al. 2020, equations 1 to 3)."""
    t = np.asarray(x, np.float64) / step
    inside = (t >= low) & (t <= high)
    code = np.clip(np.rint(t), low, high)
    return step * code, np.where(inside, g, 0), g * np.where(inside, code - t, code)


def numbers(shape, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape).astype(np.float32) for _ in range(2))


def close(actual, terms, factor):
    return np.abs(actual - factor * terms.sum()) <= (terms.size + 4) * 2.0**-24 * factor * np.abs(terms).sum()


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_weights(bits):
    x, g = numbers((12, 30), bits)
    top = 2 ** (bits - 1) - 1
    quantizer = quantizer_of(torch.from_numpy(x), WeightSpec(bits, "lsq"))
    step = 2.0 ** round(math.log2(1.6 / top))
    quantizer.step.data.fill_(step)
    weight = torch.from_numpy(x).requires_grad_()
    codes, scale, _ = quantizer(weight)
    codes.backward(torch.from_numpy(g))
    value, grad_x, terms = lsq(x, g, step, -top, top)
    np.testing.assert_array_equal((codes.detach() * scale).numpy(), value)
    np.testing.assert_array_equal(weight.grad.numpy(), grad_x)
    assert close(quantizer.step.grad.item(), terms, 1 / math.sqrt(x.size * top))


def test_every_unit_has_its_own_factor():
    """Row groups of one matrix differ in size and width, hence in N and Qp."""
    x, g = numbers((26, 10))
    groups, bits = row_groups(26, 13), (4, 8)
    spec = WeightSpec(method="lsq", granularity="row_group", group_bits=bits)
    quantizer = quantizer_of(torch.from_numpy(x), spec, head_dim=13)
    quantizer.step.data.fill_(0.25)
    quantizer(torch.from_numpy(x)).codes.backward(torch.from_numpy(g))
    for (start, count), width, grad in zip(groups, bits, quantizer.step.grad.tolist(), strict=True):
        rows, top = slice(start, start + count), 2 ** (width - 1) - 1
        assert close(grad, lsq(x[rows], g[rows], 0.25, -top, top)[2], 1 / math.sqrt(10 * count * top))


@pytest.mark.parametrize(("symmetric", "low", "high"), [(True, -7, 7), (False, -5, 10)])
def test_activations(symmetric, low, high):
    x, g = numbers((8, 30))
    quantizer = make_activation(ActivationSpec(4, "lsq", symmetric=symmetric), "linear_input", "float16")
    quantizer.step.data.fill_(0.125)
    quantizer.elements.fill_(500)
    if not symmetric:
        quantizer.zero_point.fill_(5)
    activation = torch.from_numpy(x).requires_grad_()
    codes, scale, _ = quantizer(activation)
    codes.backward(torch.from_numpy(g))
    value, grad_x, terms = lsq(x, g, 0.125, low, high)
    np.testing.assert_array_equal((codes.detach() * scale).numpy(), value)
    np.testing.assert_array_equal(activation.grad.numpy(), grad_x)
    assert (grad_x == 0).any()
    assert close(quantizer.step.grad.item(), terms, 1 / math.sqrt(500 * (7 if symmetric else 15)))


@pytest.mark.parametrize("granularity", ["tensor", "row", "row_group"])
def test_start(granularity):
    weight = torch.randn(20, 15, generator=torch.Generator().manual_seed(0))
    quantizer = quantizer_of(weight, WeightSpec(4, "lsq", granularity=granularity))
    parts = {"tensor": [weight], "row": list(weight), "row_group": list(weight.split(16))}[granularity]
    expected = [2 * part.double().abs().mean().item() / math.sqrt(7) for part in parts]
    assert quantizer.step.tolist() == pytest.approx(expected, rel=1e-5)


def calibrated(symmetric, x):
    quantizer = make_activation(ActivationSpec(4, "lsq", symmetric=symmetric), "linear_input", "float16")
    quantizer.calibrating = True
    for part in x.split(500):
        quantizer(part)
    quantizer.calibrating = False
    quantizer.finish_calibration()
    return quantizer


def test_start_from_calibration():
    x = torch.linspace(-1, 4, 1000)
    symmetric, shifted = calibrated(True, x), calibrated(False, x)
    assert symmetric.elements == 500
    assert symmetric.step.item() == pytest.approx(2 * x.abs().mean().item() / math.sqrt(7), rel=1e-2)
    step = 4 * (x - x.min()).mean().item() / math.sqrt(15)
    assert shifted.step.item() == pytest.approx(step, rel=1e-2)  # the extremes are seen once more
    assert shifted.zero_point == round(1 / step)


def test_the_step_stays_positive():
    quantizer = quantizer_of(torch.randn(4, 4), WeightSpec(4, "lsq"))
    quantizer.step.data.fill_(-1)
    quantizer.clamp_()
    assert quantizer(torch.randn(4, 4)).scale > 0
