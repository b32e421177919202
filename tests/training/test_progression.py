"""The stages of a recipe: which weights and scales each begins with, at which widths, taught by whom."""

import itertools

import pytest
import torch

from bitbert.errors import ModelError
from bitbert.prepare import base_model, quantized_activations, quantized_weights
from bitbert.recipes.schema import Recipe
from bitbert.training import progression
from bitbert.training.encode import encode
from bitbert.training.models import check_teacher, keep_layers, load_finetuned
from bitbert.training.progression import Progression, stock_weights
from support.tiny_bert import stock_model

pytestmark = pytest.mark.usefixtures("one_thread")

BASE = {
    "name": "ladder",
    "description": "",
    "bits": "w2a8",
    "weights": {"all": {"method": "learned_range"}},
    "activations": {"all": {"method": "learned_range"}},
    "calibration": {"batches": 2, "batch_size": 8, "weights": "mse"},
}
QUICK = {"epochs": 0.2, "batch_size": 8, "learning_rate": 1e-3}
DISTILLED = {"losses": {"labels": 0.0, "logits": 1.0}}


@pytest.fixture
def train(classifier, tokenizer, data, tmp_path):
    """Runs a recipe with these stages; what `run_stage` was called with, the final model, the results."""
    task = data.task
    rows = encode(data.split("train"), task, tokenizer, 40)

    def run(*stages):
        recipe = Recipe.model_validate(BASE | {"stages": [QUICK | stage for stage in stages]})
        stages = Progression(
            recipe,
            lambda: load_finetuned(classifier, task),
            load_finetuned(classifier, task, scores=True),
            lambda stage: rows,
            lambda stage: recipe.spec_of(stage, 1) if stage else recipe.spec(None, 1),
            tokenizer,
            seed=3,
        )
        return stages.run(tmp_path / "work", None, tmp_path / "logs")

    return run


@pytest.fixture
def begun(monkeypatch):
    """What every stage was begun with: the state of its model, its spec's widths, its teacher."""
    seen, real = [], progression.run_stage

    def watching(model, *args, teacher, **how):
        entry = {"state": {name: x.clone() for name, x in model.state_dict().items()}, "model": model}
        weights, activations = quantized_weights(base_model(model)), quantized_activations(base_model(model))
        entry["bits"] = {q.spec.bits for _, q in weights.values()}, {q.spec.bits for q in activations.values()}
        entry["teacher"], entry["ended"] = teacher, None
        seen.append(entry)
        result = real(model, *args, teacher=teacher, **how)
        entry["ended"] = {name: x.clone() for name, x in model.state_dict().items()}
        return result

    monkeypatch.setattr(progression, "run_stage", watching)
    return seen


def same(one, other, part):
    names = [name for name in one if ("quantizer" in name) == (part == "scales")]
    assert names
    return all(torch.equal(one[name], other[name]) for name in names)


def test_bits_go_down_and_weights_are_handed_on(train, begun):
    model, results = train({"bits": "w4a32"}, {"bits": "w2a32"}, {})
    assert [entry["bits"] for entry in begun] == [({4}, set()), ({2}, set()), ({2}, {8})]
    for before, after in itertools.pairwise(begun):
        assert same(before["ended"], after["state"], "weights")
        assert not same(before["state"], before["ended"], "weights")  # it did learn
    assert len(results) == 3
    assert model is begun[-1]["model"]


def test_scales_go_on_where_the_width_stays(train, begun):
    train({"name": "first"}, {})
    first, second = begun
    assert same(first["ended"], second["state"], "weights")
    assert same(first["ended"], second["state"], "scales")


def test_scales_start_anew_where_it_changes(train, begun):
    train({"bits": "w4a8"}, {})
    name = "bert.encoder.layer.0.output.dense.weight_quantizer.alpha"
    wide, narrow = begun[0]["ended"][name], begun[1]["state"][name]
    assert narrow < 0.9 * wide


def test_a_stage_may_start_from_the_model_or_an_earlier_stage(train, begun):
    train(
        {"name": "one", "bits": "w4a32"},
        {"bits": "w2a32"},
        {"name": "three", "bits": "w2a32", "start": "one"},
        {"start": "model"},
    )
    assert same(begun[0]["ended"], begun[2]["state"], "weights")
    assert same(begun[0]["state"], begun[3]["state"], "weights")


def test_an_earlier_stage_may_teach(train, begun):
    train({"name": "wide", "bits": "w4a8"} | DISTILLED, {"teacher": "wide"} | DISTILLED)
    assert begun[1]["teacher"] is begun[0]["model"]
    assert not any(p.requires_grad for p in begun[1]["teacher"].parameters())
    assert all(torch.equal(x, begun[1]["teacher"].state_dict()[n]) for n, x in begun[0]["ended"].items())


def test_without_stages_the_model_is_calibrated_only(train, classifier, data):
    model, results = train()
    assert results == []
    stock = load_finetuned(classifier, data.task).state_dict()
    assert all(torch.equal(x, stock[name]) for name, x in stock_weights(model).items())
    assert all(q.alpha != 1 for q in quantized_activations(base_model(model)).values())


def test_small_data_are_gone_through_until_there_were_enough_steps(train):
    _, (result,) = train({"min_steps": 7})
    assert result["steps"] == 7
    assert result["stage"]["epochs"] == pytest.approx(7 * 8 / 120)


def test_layers_that_are_kept():
    deep, kept = stock_model(), keep_layers(stock_model(), 1)
    assert kept.config.num_hidden_layers == 1
    ours, theirs = kept.bert.encoder.layer[0].state_dict(), deep.bert.encoder.layer[1].state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    with pytest.raises(ModelError, match="3 layers cannot be kept of 2: the number must divide it"):
        keep_layers(deep, 3)


@pytest.mark.parametrize(
    ("changes", "losses", "reason"),
    [
        ({"num_hidden_layers": 3}, {"hidden": 1.0}, "the teacher has 3 layers, the model 2: expected a multiple"),
        ({"num_attention_heads": 4}, {"last_values": 1.0}, "the teacher has 4 heads, the model 2"),
        ({"hidden_size": 128}, {"hidden": 1.0}, "the teacher has 128 hidden units, the model 64"),
    ],
)
def test_a_teacher_that_cannot_be_compared_with(changes, losses, reason):
    config = stock_model().config
    teacher = type(config).from_dict(config.to_dict() | changes)
    for terms, fits in (({"logits": 1.0}, True), (losses, False)):
        recipe = Recipe.model_validate(BASE | {"stages": [QUICK | {"losses": terms}]})
        if fits:
            check_teacher(teacher, config, recipe)
        else:
            with pytest.raises(ModelError, match=reason):
                check_teacher(teacher, config, recipe)
