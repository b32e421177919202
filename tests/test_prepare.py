"""Preparing stock models: every tensor of the spec is quantized, nothing else changes, padding is not attended."""

import pytest
import torch
import transformers
from torch import nn

from bitbert.errors import ModelError, SpecError
from bitbert.prepare import ARCHITECTURES, base_model, prepare, quantized_activations, quantized_weights
from bitbert.quantizers import ActivationQuantizer, WeightQuantizer
from bitbert.spec import (
    ACTIVATION_KINDS,
    WEIGHT_KINDS,
    ActivationSpec,
    Override,
    QuantSpec,
    WeightSpec,
    activation_names,
    weight_names,
)
from support.tiny_bert import batch, calibrated_model, stock_model

every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)
FLOAT = QuantSpec(
    {kind: WeightSpec(None) for kind in WEIGHT_KINDS}, {kind: ActivationSpec(None) for kind in ACTIVATION_KINDS}
)


def outputs(model, inputs):
    """All floats that a model gives, by name."""
    with torch.no_grad():
        return {name: x for name, x in model(**inputs).items() if isinstance(x, torch.Tensor)}


@every_architecture
def test_every_tensor_of_the_spec_is_quantized(architecture):
    model = prepare(stock_model(architecture), QuantSpec())
    encoder = base_model(model)
    pooler = getattr(encoder, "pooler", None) is not None
    assert pooler == (architecture in ("BertModel", "BertForSequenceClassification"))
    assert set(quantized_weights(encoder)) == set(weight_names(2, pooler))
    assert set(quantized_activations(encoder)) == set(activation_names(2, pooler))
    quantizers = [m for m in model.modules() if isinstance(m, ActivationQuantizer | WeightQuantizer)]
    assert len(quantizers) == len(weight_names(2, pooler)) + len(activation_names(2, pooler))


@every_architecture
def test_every_quantizer_is_used(architecture):
    """Once a forward pass and for its own tensor: two at one place would round twice, and one beside the path never."""
    model, called = calibrated_model(architecture=architecture), []
    encoder = base_model(model)
    for name, quantizer in quantized_activations(encoder).items():
        quantizer.register_forward_hook(lambda module, args, result, name=name: called.append(name))
    for name, (_, quantizer) in quantized_weights(encoder).items():
        for method in ("forward", "gather"):
            spy(quantizer, method, lambda name=name: called.append(name))
    outputs(model, batch(model.config, [7, 5]))
    pooler = getattr(encoder, "pooler", None) is not None
    assert sorted(called) == sorted(weight_names(2, pooler) + activation_names(2, pooler))


def spy(owner, method, report):
    original = getattr(owner, method)

    def called(*args):
        report()
        return original(*args)

    setattr(owner, method, called)


def test_each_quantizer_has_the_spec_of_its_tensor():
    spec = QuantSpec.uniform(
        4,
        8,
        overrides=[
            Override("*.layer.1.attention.self.key.weight", {"bits": 2, "method": "lsq", "granularity": "row_group"}),
            Override("*.layer.0.output.dense.input", {"bits": 4, "symmetric": False}),
        ],
    )
    encoder = base_model(prepare(stock_model(), spec))
    for name, (_, quantizer) in quantized_weights(encoder).items():
        assert quantizer.spec == spec.weight(name)
    for name, quantizer in quantized_activations(encoder).items():
        assert quantizer.spec == spec.activation(name)


def test_row_groups_of_q_k_and_v_stay_in_their_heads():
    spec = QuantSpec.uniform(4, 8, weights={"all": {"granularity": "row_group"}})
    sizes = {"hidden_size": 52, "num_attention_heads": 2}  # heads of 26 rows: 16 and 10
    weights = quantized_weights(base_model(prepare(stock_model(**sizes), spec)))
    groups = {
        name: weights[f"encoder.layer.0.{name}.dense.weight"][1].num_units for name in ("attention.output", "output")
    }
    assert groups == {"attention.output": 4, "output": 4}
    for part in ("query", "key", "value"):
        group_of_row = weights[f"encoder.layer.0.attention.self.{part}.weight"][1].group_of_row
        assert group_of_row.tolist() == [0] * 16 + [1] * 10 + [2] * 16 + [3] * 10
    in_one_piece = weights["encoder.layer.0.output.dense.weight"][1].group_of_row
    assert in_one_piece.tolist() == [0] * 16 + [1] * 16 + [2] * 16 + [3] * 4


@every_architecture
def test_parameters_stay_the_same_tensors_under_the_same_names(architecture):
    model = stock_model(architecture)
    before = dict(model.named_parameters())
    after = dict(prepare(model, QuantSpec.uniform(4, 8, weights={"all": {"method": "lsq"}})).named_parameters())
    assert all(after[name] is parameter for name, parameter in before.items())
    assert all("quantizer" in name for name in after.keys() - before.keys())


@every_architecture
def test_without_bits_it_is_the_stock_model(architecture):
    stock, prepared = stock_model(architecture), prepare(stock_model(architecture), FLOAT)
    inputs = batch(stock.config, [12, 7, 40])
    expected, got = outputs(stock, inputs), outputs(prepared, inputs)
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        mask = inputs["attention_mask"].bool() if value.shape[:2] == inputs["input_ids"].shape else ...
        torch.testing.assert_close(got[name][mask], value[mask], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("hidden_act", ["gelu", "relu", "gelu_new", "gelu_pytorch_tanh"])
def test_eight_bits_are_close_to_the_stock_model(hidden_act):
    stock = stock_model(hidden_act=hidden_act)
    prepared = calibrated_model(QuantSpec.uniform(8, 8), hidden_act=hidden_act)
    inputs = batch(stock.config, [12, 7, 40])
    expected, got = outputs(stock, inputs)["logits"], outputs(prepared, inputs)["logits"]
    assert 0 < (got - expected).abs().max() < 0.1
    assert expected.abs().max() > 0.3


@every_architecture
@pytest.mark.parametrize("spec", [QuantSpec.uniform(4, 8), FLOAT], ids=["w4a8", "float"])
def test_padding_is_not_attended(architecture, spec):
    """Whatever tokens stand in the padding, the rest has the same bits."""
    model = prepare(stock_model(architecture), spec) if spec is FLOAT else calibrated_model(spec, architecture)
    inputs = batch(model.config, [12, 7, 40])
    other = dict(inputs)
    padding = inputs["attention_mask"] == 0
    other["input_ids"] = torch.where(padding, 1 + inputs["input_ids"], inputs["input_ids"])
    one, two = outputs(model, inputs), outputs(model, other)
    assert not torch.equal(inputs["input_ids"], other["input_ids"])
    for name, value in one.items():
        mask = ~padding if value.shape[:2] == padding.shape else ...
        assert torch.equal(value[mask], two[name][mask])


def test_gradients_reach_every_parameter():
    spec = QuantSpec.uniform(
        4, 8, weights={"all": {"method": "learned_range"}}, activations={"all": {"method": "learned_range"}}
    )
    model = calibrated_model(spec).train()
    model(**batch(model.config, [12, 40]), labels=torch.tensor([0, 1])).loss.backward()
    silent = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()}
    assert all(name.endswith("key.bias") for name in silent)  # shifts all scores of a row alike


class BertWithAnotherHead(transformers.BertPreTrainedModel):
    """An architecture that the engine does not know."""


def test_an_unsupported_architecture_names_those_supported():
    stranger = BertWithAnotherHead(transformers.BertConfig(hidden_size=8, num_attention_heads=1))
    with pytest.raises(
        ModelError, match=r"^architecture BertWithAnotherHead is not supported, expected one of: "
    ) as error:
        prepare(stranger, QuantSpec())
    assert all(name in str(error.value) for name in ARCHITECTURES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "silu"}, "hidden_act 'silu' is not supported, expected one of: gelu, relu, gelu_new, "),
        ({"is_decoder": True}, "decoders are not supported, expected is_decoder: false"),
    ],
)
def test_an_unsupported_config_is_refused(changes, message):
    with pytest.raises(ModelError, match=message):
        prepare(stock_model(**changes), QuantSpec())


def test_group_bits_of_another_size_are_refused_with_the_name():
    name = "encoder.layer.1.intermediate.dense.weight"
    spec = QuantSpec(overrides=(Override(name, {"group_bits": [4, 8], "granularity": "row_group"}),))
    with pytest.raises(SpecError, match=f"{name}: group_bits has 2 entries, expected 6"):
        prepare(stock_model(), spec)


def test_dropout_stays():
    model = calibrated_model().train()
    assert any(isinstance(m, nn.Dropout) and m.p > 0 for m in model.modules())
    inputs = batch(model.config, [12])
    assert not torch.equal(outputs(model, inputs)["logits"], outputs(model, inputs)["logits"])
