"""Reconstruction: every block comes nearer to the float one, fed by the quantized blocks before it."""

import copy

import pytest
import torch

from bitbert.prepare import base_model, prepare
from bitbert.recipes.schema import Calibration, Reconstruction, load_recipe
from bitbert.training.calibrate import calibrate
from bitbert.training.distill import hidden_loss
from bitbert.training.reconstruct import reconstruct
from support.tiny_bert import batch, stock_model

pytestmark = pytest.mark.usefixtures("one_thread")

LENGTHS = ([40, 31, 22, 9], [17, 17, 16, 5], [12, 8, 7, 3])
SETTINGS = Reconstruction(steps=20, learning_rate=3e-4)


def batches(config):
    return [batch(config, lengths, seed) for seed, lengths in enumerate(LENGTHS)]


@pytest.fixture(scope="module", params=["BertForSequenceClassification", "BertForQuestionAnswering"])
def calibrated(request):
    """(quantized model, float model, batches); the second architecture has no pooler."""
    float32 = stock_model(request.param)
    model = prepare(copy.deepcopy(float32), load_recipe("ptq").spec("w4a8"))
    shown = batches(model.config)
    calibrate(model, shown, Calibration(weights="mse", activations="minmax"))
    return model, float32, shown


def run(calibrated, seed=1, **changes):
    """A reconstructed copy, and the errors."""
    model, float32, shown = calibrated
    made = copy.deepcopy(model)
    return made, reconstruct(made, float32, shown, SETTINGS.model_copy(update=changes), seed=seed)


def same(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@torch.no_grad()
def errors_of_the_whole(model, float32, shown):
    """Mean squared error of embeddings, layers and what the pooler gives, through the models' own forward pass."""
    losses = []
    for part in shown:
        ours, theirs = (base_model(m)(**part, output_hidden_states=True) for m in (model, float32))
        pairs = zip(ours.hidden_states, theirs.hidden_states, strict=True)
        one = [hidden_loss([a], [b], part["attention_mask"]) for a, b in pairs]
        if ours.pooler_output is not None:
            one.append((ours.pooler_output - theirs.pooler_output).square().mean())
        losses.append(torch.stack(one))
    return torch.stack(losses).mean(0).tolist()


def test_errors_fall_and_are_those_of_the_model_as_a_whole(calibrated):
    model, float32, shown = calibrated
    made, errors = run(calibrated)
    names = ["embeddings", "encoder.layer.0", "encoder.layer.1"]
    assert [e["block"] for e in errors] == names + ["pooler"] * (base_model(model).pooler is not None)
    assert all(e["after"] < e["before"] for e in errors)
    assert [e["after"] for e in errors] == pytest.approx(errors_of_the_whole(made, float32, shown), rel=1e-3)
    start = errors_of_the_whole(model, float32, shown)
    assert errors[0]["before"] == pytest.approx(start[0], rel=1e-3)
    assert errors[2]["after"] < 0.7 * start[2]  # what the blocks before it gained included


def test_the_float_model_and_the_head_are_left_alone(calibrated):
    model, float32, _ = calibrated
    before = copy.deepcopy(float32)
    made, _ = run(calibrated, steps=2)
    assert same(float32, before)
    assert all(p.grad is None for m in (made, float32) for p in m.parameters())
    head = [name for name, _ in model.named_parameters() if not name.startswith("bert.")]
    assert head
    assert all(torch.equal(made.get_parameter(name), model.get_parameter(name)) for name in head)


def test_the_same_seed_gives_the_same_weights(calibrated):
    (one, _), (again, _), (other, _) = (run(calibrated, seed, steps=4) for seed in (1, 1, 2))
    assert same(one, again)
    assert not same(one, other)


@pytest.mark.parametrize(
    ("rate", "moves"),
    [
        ("learning_rate", lambda name: "quantizer" not in name),
        ("weight_scale_learning_rate", lambda name: "weight_quantizer" in name),
        ("activation_scale_learning_rate", lambda name: "put_quantizer" in name or "probs_quantizer" in name),
    ],
)
def test_each_rate_moves_its_own_parameters(calibrated, rate, moves):
    rates = {name: 0.0 for name in type(SETTINGS).model_fields if name.endswith("rate")}
    made, _ = run(calibrated, steps=5, **rates | {rate: 1e-3})
    before = dict(calibrated[0].named_parameters())
    moved = {name for name, p in made.named_parameters() if not torch.equal(p, before[name])}
    assert moved
    assert all(moves(name) for name in moved)


def test_a_block_that_would_get_worse_stays_as_it_was(calibrated):
    made, errors = run(calibrated, steps=2, learning_rate=100.0)
    assert same(made, calibrated[0])
    assert all(e["after"] == e["before"] for e in errors)


def test_what_stands_in_the_padding_plays_no_part(calibrated):
    model, float32, shown = calibrated
    _, errors = run(calibrated, steps=3)
    noisy = [part | {"input_ids": torch.where(part["attention_mask"] == 1, part["input_ids"], 7)} for part in shown]
    _, again = run((model, float32, noisy), steps=3)
    for one, other in zip(errors, again, strict=True):
        assert other["before"] == pytest.approx(one["before"], rel=1e-2)
        assert other["after"] == pytest.approx(one["after"], rel=1e-2)


def test_a_bar_is_shown_where_there_is_a_title(calibrated, capfd):
    model, float32, shown = calibrated
    reconstruct(copy.deepcopy(model), float32, shown, Reconstruction(steps=2), seed=1, title="ptq w4a8")
    blocks = 3 + (base_model(model).pooler is not None)
    assert f"{2 * blocks}/{2 * blocks} steps" in capfd.readouterr().err
