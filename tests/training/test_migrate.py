"""Migration: units are centred, and the float model gives what it gave."""

import copy

import pytest
import torch
from safetensors.torch import load_file

import bitbert
from bitbert.prepare import base_model
from bitbert.training.migrate import migrate
from support.tiny_bert import batch, stock_model

pytestmark = pytest.mark.usefixtures("one_thread")

SHORT = {"w8a8": ["epochs=0.1"], "ptq": []}


@pytest.fixture(
    params=["BertModel", "BertForSequenceClassification", "BertForTokenClassification", "BertForQuestionAnswering"]
)
def model(request):
    """With units that have means, as those of a trained model do; a fresh one's biases are 0."""
    model, generator = stock_model(request.param), torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, bias in model.named_parameters():
            if name.endswith("bias"):
                bias.add_(torch.randn(bias.shape, generator=generator))
    return model


def batches(model):
    return [batch(model.config, lengths, seed) for seed, lengths in enumerate(([40, 31, 9], [17, 5, 3]))]


@torch.no_grad()
def means(model):
    """Largest mean of a unit over real tokens: of hidden states after each LayerNorm, of keys, of values."""
    encoder, found = base_model(model), {}
    ends = ("LayerNorm", "self.key", "self.value")
    for name, module in encoder.named_modules():
        if name.endswith(ends):
            module.register_forward_hook(lambda _, __, x, name=name: found.setdefault(name, []).append(x))
    for part in batches(model):
        model(**part)
    masks = torch.cat([part["attention_mask"].bool().flatten() for part in batches(model)])
    flat = {name: torch.cat([x.flatten(0, 1) for x in parts]) for name, parts in found.items()}
    return {name: float(x[masks].mean(dim=0).abs().max()) for name, x in flat.items()}


@torch.no_grad()
def test_the_model_gives_what_it_gave_on_any_text(model):
    moved = migrate(copy.deepcopy(model), batches(model))
    other = batch(model.config, [33, 21, 2], seed=9)
    for ours, theirs in zip(moved(**other).to_tuple(), model(**other).to_tuple(), strict=True):
        real = other["attention_mask"].bool() if ours.dim() > 1 and ours.shape[1] == 33 else slice(None)
        torch.testing.assert_close(ours[real], theirs[real], rtol=1e-4, atol=1e-4)


def test_every_unit_is_centred(model):
    before, after = (means(copy.deepcopy(m)) for m in (model, migrate(copy.deepcopy(model), batches(model))))
    last = f"encoder.layer.{model.config.num_hidden_layers - 1}.output.LayerNorm"
    kept = {last} if base_model(model) is model else set()
    assert min(before.values()) > 0.5
    assert all(after[name] < 1e-4 for name in after.keys() - kept)
    assert all(after[name] == pytest.approx(before[name], rel=1e-3) for name in kept)


@pytest.mark.parametrize(("way", "recipe"), [(bitbert.quantize, "w8a8"), (bitbert.calibrate_only, "ptq")])
def test_a_recipe_may_ask_for_it(tmp_path, tuned, data, way, recipe):
    keys = []
    for migration in ("false", "true"):
        how = {"recipe": recipe, "progress": False, "settings": [f"migration={migration}", *SHORT[recipe]]}
        report = way(tuned, output=tmp_path / migration, task=data, bits="w8a8", **how)
        assert report["migration"] == (migration == "true")
        assert report["splits"]["validation"]["accuracy"] == 100
        tensors = load_file(tmp_path / migration / "model.safetensors")
        keys.append(tensors["bert.encoder.layer.0.attention.self.key.bias"].float())
    assert (keys[0] - keys[1]).abs().max() > 0.01
