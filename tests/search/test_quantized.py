"""A matrix at some width: on the grid, with steps that no other beats by more than the spacing of candidates."""

import pytest
import torch

from bitbert.quantizers.lsq import LSQWeight
from bitbert.search.quantized import best_steps, change
from bitbert.spec import WeightSpec, code_range

GROUPS = [(0, 16), (16, 10)]


@pytest.fixture
def weight():
    return torch.randn(26, 40, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.1, 3, 26)[:, None]


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_steps_are_near_the_best(weight, bits):
    quantizer = LSQWeight(WeightSpec(bits, "lsq", granularity="row_group"), GROUPS, torch.float32)
    steps = best_steps(quantizer, weight)
    low, high, odd = code_range(bits, "mid_tread")
    for step, (first, rows) in zip(steps, GROUPS, strict=True):
        part, grid = weight[first : first + rows], torch.arange(low, high + 1, odd).float()

        def error(s, part=part, grid=grid):
            return (part[..., None] - s * grid).abs().amin(dim=-1).square().sum()

        fine = min(error(step * factor) for factor in torch.linspace(0.8, 1.25, 91))
        # Candidates are 8 % apart, and the error grows by no more than the square of the step.
        assert error(step) <= 1.08**2 * fine


def test_changes_end_on_the_grid(weight):
    by_group = change(weight, 2, GROUPS) + weight
    by_row = change(weight, 2, GROUPS, granularity="row") + weight
    for unit in (by_group[:16], by_group[16:], *by_row):
        step = unit.abs().max()
        # Adding the weight back rounds: what should be 0 or the step is so up to float32.
        assert torch.minimum(unit.abs(), (unit.abs() - step).abs()).max() < 1e-6


def test_more_bits_change_less(weight):
    norms = [change(weight, bits, GROUPS).norm() for bits in (1, 2, 3, 4, 6, 8)]
    assert norms == sorted(norms, reverse=True)


def test_a_matrix_of_zeros():
    assert not change(torch.zeros(26, 40), 4, GROUPS).any()
