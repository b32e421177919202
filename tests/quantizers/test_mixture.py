"""The mixture: its value for known shares, its gradients against autograd's, and what noise and temperature do."""

import pytest
import torch

from bitbert.quantizers.lsq import LSQWeight
from bitbert.quantizers.mixture import MixtureWeight
from bitbert.search.quantized import best_steps, change
from bitbert.spec import WeightSpec

GROUPS = [(0, 16), (16, 10)]
CHOICES = (0, 1, 2, 8)


@pytest.fixture
def weight():
    return torch.randn(26, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def mixture(weight):
    steps = [torch.ones(2)]
    for bits in CHOICES[1:]:
        spec = WeightSpec(bits, "lsq", granularity="row_group")
        steps.append(best_steps(LSQWeight(spec, GROUPS, torch.float32), weight))
    rows = torch.repeat_interleave(torch.tensor([16, 10]))
    return MixtureWeight(weight, torch.stack(steps, -1), CHOICES, rows, "mid_tread", torch.Generator().manual_seed(0))


def choose(mixture, *choice):
    """Logits that leave the noise no say."""
    with torch.no_grad():
        mixture.logits.zero_()
        mixture.logits[torch.arange(2), torch.tensor(choice)] = 1e4


@pytest.mark.parametrize(("choice", "bits"), list(enumerate(CHOICES)))
def test_a_sure_choice_is_that_width(mixture, weight, choice, bits):
    choose(mixture, choice, 3)
    expected = weight + change(weight, bits, GROUPS) if bits else torch.zeros_like(weight)
    value = mixture(weight)
    assert value.bound == 0
    assert torch.allclose(value.codes[:16], expected[:16], atol=1e-6)
    assert torch.allclose(value.codes[16:], (weight + change(weight, 8, GROUPS))[16:], atol=1e-6)
    assert torch.equal(mixture.kept(torch.ones(26)), torch.tensor([float(bits > 0)] * 16 + [1.0] * 10))


def test_gradients_are_those_of_the_formula(mixture, weight):
    """With a straight-through stand-in for rounding, autograd gives the same for the plain sum."""
    weight.requires_grad_()
    upstream = torch.randn(26, 8, generator=torch.Generator().manual_seed(1))
    value = mixture(weight)
    (value.codes * upstream).sum().backward()
    found = weight.grad.clone(), mixture.logits.grad.clone()
    mixture.noise.manual_seed(0)
    weight.grad, mixture.logits.grad = None, None
    shares = mixture._draw()
    total = torch.zeros_like(weight)
    for k, at_width in mixture.values(weight.detach()):
        total = total + shares[mixture.group_of_row, k, None] * (weight + (at_width - weight).detach())
    assert torch.allclose(total, value.codes, atol=1e-6)
    (total * upstream).sum().backward()
    assert torch.allclose(weight.grad, found[0], atol=1e-6)
    assert torch.allclose(mixture.logits.grad, found[1], atol=1e-5)


def test_shares_sharpen_as_it_cools(mixture):
    for temperature, least in ((1e-3, 0.999), (1e3, 0.0)):
        mixture.temperature = temperature
        shares = torch.stack([mixture._draw() for _ in range(50)])
        assert shares.max(dim=-1).values.median() >= least
    assert shares.max() < 0.3


def test_cold_draws_have_the_probabilities_of_the_logits(mixture):
    """The Gumbel-max trick: argmax of logits + noise is drawn from softmax(logits)."""
    with torch.no_grad():
        mixture.logits.copy_(torch.tensor([[0.0, 1.0, -1.0, 2.0]] * 2))
    drawn = torch.stack([mixture._draw().argmax(-1) for _ in range(4000)]).flatten()
    frequency = torch.bincount(drawn, minlength=4) / len(drawn)
    # 8,000 draws: a standard deviation of at most 0.0056.
    assert torch.allclose(frequency, mixture.logits[0].softmax(-1), atol=5 * 0.0056)


def test_steps_follow_the_weights(mixture, weight):
    choose(mixture, 3, 3)
    assert torch.allclose(mixture(3 * weight).codes, 3 * mixture(weight).codes, atol=1e-5)
