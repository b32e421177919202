"""Calibration: ranges come from what passed in float, by the rules that were asked for."""

import pytest
import torch

from bitbert.prepare import base_model, prepare, quantized_activations, quantized_weights
from bitbert.quantizers.learned_range import histogram, percentile
from bitbert.recipes.schema import Calibration
from bitbert.spec import QuantSpec
from bitbert.training.calibrate import calibrate
from support.tiny_bert import batch, stock_model

LEARNED = {"all": {"method": "learned_range"}}
RULES = {"percentile": percentile, "histogram": histogram}


def batches(config, count=3):
    return [batch(config, [40] * 4, seed) | {"labels": torch.zeros(4, dtype=torch.long)} for seed in range(count)]


def passed(model, shown):
    """What reaches each activation quantizer, in float, in evaluation mode."""
    seen = {}
    encoder = base_model(model)
    for name, quantizer in quantized_activations(encoder).items():
        quantizer.calibrating = True
        quantizer.observe = lambda x, name=name: seen.setdefault(name, []).append(x.flatten())
    with torch.no_grad():
        for part in shown:
            encoder(**{name: x for name, x in part.items() if name != "labels"})
    return {name: torch.cat(parts) for name, parts in seen.items()}


@pytest.mark.parametrize("rule", RULES)
def test_learned_ranges_follow_the_rule(rule):
    spec = QuantSpec.uniform(4, 8, weights=LEARNED, activations=LEARNED)
    model = prepare(stock_model(), spec)
    shown = batches(model.config)
    calibrate(model.train(), shown, Calibration(weights=rule, activations=rule))
    assert not model.training
    for weight, quantizer in quantized_weights(base_model(model)).values():
        assert quantizer.alpha.item() == RULES[rule](weight.detach(), 7).item()
    twin = prepare(stock_model(), spec)
    calibrate(twin, shown[:1], Calibration(weights=rule))
    seen = passed(twin.eval(), shown)
    for name, quantizer in quantized_activations(base_model(model)).items():
        # few numbers a batch, so the sample is all of them, and the extremes of each batch once more
        parts = seen[name].chunk(len(shown))
        sample = torch.cat([torch.cat([part, torch.stack(torch.aminmax(part))]) for part in parts])
        assert quantizer.alpha.item() == pytest.approx(RULES[rule](sample, quantizer.levels).item(), rel=1e-6), name


def test_minmax_follows_its_average():
    model = prepare(stock_model(), QuantSpec())
    shown = batches(model.config)
    calibrate(model, shown, Calibration())
    seen = passed(prepare(stock_model(), QuantSpec()).eval(), shown)
    for name, quantizer in quantized_activations(base_model(model)).items():
        tops = [part.abs().max().item() for part in seen[name].chunk(3)]
        average = tops[0]
        for top in tops[1:]:
            average += (1 - 0.9999) * (top - average)
        assert quantizer.maximum.item() == pytest.approx(average, rel=1e-6)


def test_numbers_pass_unquantized_meanwhile():
    """1-bit activations would spoil everything behind them."""
    coarse, fine = (prepare(stock_model(), QuantSpec.uniform(8, bits)) for bits in (1, 8))
    for model in (coarse, fine):
        calibrate(model, batches(model.config), Calibration())
    name = "pooler.dense.input"
    one, other = (quantized_activations(base_model(model))[name].maximum for model in (coarse, fine))
    assert torch.equal(one, other)


def test_afterwards_everything_is_quantized():
    model = prepare(stock_model(), QuantSpec.uniform(4, 8, weights=LEARNED, activations=LEARNED))
    calibrate(model, batches(model.config), Calibration())
    quantizers = quantized_activations(base_model(model)).values()
    assert not any(quantizer.calibrating for quantizer in quantizers)
    x = torch.randn(3, 8)
    for quantizer in quantizers:
        codes = quantizer(x).codes
        assert torch.equal(codes, codes.round())


def test_gradients_are_not_kept():
    model = prepare(stock_model(), QuantSpec.uniform(4, 8, weights=LEARNED, activations=LEARNED))
    calibrate(model, batches(model.config), Calibration())
    assert all(p.grad is None for p in model.parameters())
    assert all(p.requires_grad for p in model.parameters())
