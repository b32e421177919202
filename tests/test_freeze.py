"""Trained is what runs: what the fake-quantized model computes with is, exactly, what freezing hands to the writer."""

import numpy as np
import pytest
import torch

from bitbert.checkpoint import PackedWeight
from bitbert.errors import SpecError
from bitbert.freeze import freeze
from bitbert.prepare import ARCHITECTURES, base_model, prepare, quantized_activations, quantized_weights
from bitbert.quantizers import make_weight
from bitbert.spec import ACTIVATION_KINDS, ActivationSpec, Override, QuantSpec, WeightSpec, row_groups
from quantizers.cases import GRANULARITIES, KINDS, spec_of
from support.random_model import tiny_config, with_mixed_groups
from support.tiny_bert import batch, calibrated_model, stock_model


def packed_value(weight):
    """codes * scale of a `PackedWeight`, as every reader of the file has it."""
    return weight.codes().astype(np.float32) * weight.row_scale()[:, None]


def assert_weights_are_exact(model, packed):
    for name, (weight, quantizer) in quantized_weights(base_model(model)).items():
        with torch.no_grad():
            codes, scale, _ = quantizer(weight)
        np.testing.assert_array_equal((codes * scale).numpy(), packed_value(packed.weights[name]), err_msg=name)


def trained(model, seed):
    """Every parameter moved a little, as by training; learned scales stay positive."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 1 + 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def linear_spec(kind, **options):
    method, bits, grid = kind
    return QuantSpec.uniform(bits, 8, weights={"all": {"method": method, "grid": grid} | options})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind)))
def test_weights_are_exact(kind):
    """Every method and width; granularities take turns, and so do the dtypes of the file."""
    for seed, granularity in enumerate(GRANULARITIES):
        spec = linear_spec(kind, granularity=granularity)
        model = trained(prepare(stock_model(seed=seed), spec), seed)
        calibrate_roughly(model)
        assert_weights_are_exact(model, freeze(model, spec))


def calibrate_roughly(model):
    """Some range for every activation, without running the model."""
    for quantizer in quantized_activations(base_model(model)).values():
        quantizer.calibrating = True
        quantizer(torch.linspace(-1, 1, 64).view(2, 32))
        quantizer.calibrating = False
        quantizer.finish_calibration()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind)))
@pytest.mark.parametrize("leftovers", ["float16", "float32"])
def test_one_matrix_over_many_seeds(kind, leftovers):
    for seed in range(20):
        weight = torch.randn(21, 13, generator=torch.Generator().manual_seed(seed)) * 10.0 ** (seed % 4 - 2)
        quantizer = make_weight(spec_of(kind, granularity=GRANULARITIES[seed % 3]), row_groups(21), leftovers)
        quantizer.initialize(weight)
        codes, scale = quantizer.freeze(weight)
        with torch.no_grad():
            used = quantizer(weight)
        stored = scale.numpy().astype(leftovers).astype(np.float32)
        packed = PackedWeight.from_codes("a matrix", quantizer.spec, codes.numpy(), stored)
        np.testing.assert_array_equal(packed_value(packed), (used.codes * used.scale).numpy())


@pytest.mark.parametrize("grid", ["mid_tread", "mid_rise"])
def test_mixed_and_pruned_groups_are_exact(grid):
    for seed in range(3):
        spec = QuantSpec.uniform(4, 8, weights={"all": {"grid": grid, "method": "learned_range"}})
        spec = with_mixed_groups(spec, tiny_config(), seed, widths=range(9))
        model = trained(prepare(stock_model(seed=seed), spec), seed)
        calibrate_roughly(model)
        assert_weights_are_exact(model, freeze(model, spec))


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("method", ["minmax", "learned_range", "lsq"])
def test_activations_have_the_scale_and_zero_point_of_evaluation(method, symmetric):
    kinds = [kind for kind in ACTIVATION_KINDS if kind not in ("key", "value")]
    activations = {"all": {"method": method}} | {kind: {"symmetric": symmetric} for kind in kinds}
    spec = QuantSpec.uniform(8, 8, activations=activations)
    model = trained(calibrated_model(spec), 0)
    packed, seen = freeze(model, spec), {}
    for name, quantizer in quantized_activations(base_model(model)).items():
        quantizer.register_forward_hook(
            lambda module, args, result, name=name: seen.update({name: result.scale.item()})
        )
    with torch.no_grad():
        model(**batch(model.config, [9]))
    assert {name: stored.scale for name, stored in packed.activations.items()} == seen
    quantizers = quantized_activations(base_model(model))
    for name, stored in packed.activations.items():
        assert stored.zero_point == quantizers[name].zero_point
        assert float(np.float16(stored.scale)) == stored.scale
    shifted = {name for name, stored in packed.activations.items() if stored.zero_point not in (0, 128)}
    assert bool(shifted) == (not symmetric)


def test_a_per_token_activation_stores_nothing():
    per_token = {kind: {"scale": "per_token"} for kind in ("linear_input", "pooler_input")}
    spec = QuantSpec.uniform(8, 8, activations=per_token)
    packed = freeze(calibrated_model(spec), spec)
    assert not any(name.endswith(("dense.input", "self.input")) for name in packed.activations)
    assert any(name.endswith("probs") for name in packed.activations)


@pytest.mark.parametrize("leftovers", ["float16", "float32"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_leftovers_are_rounded_in_the_model_too(architecture, leftovers):
    spec = QuantSpec.uniform(8, 8, leftovers=leftovers)
    model = calibrated_model(spec, architecture)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    packed = freeze(model, spec)
    in_heads = {"classifier.weight", "classifier.bias", "qa_outputs.weight", "qa_outputs.bias"}
    assert {name for name in packed.floats if not name.endswith(("bias", "LayerNorm.weight"))} <= in_heads
    for name, value in packed.floats.items():
        full = name if name in before else f"bert.{name}"
        rounded = before[full].to(getattr(torch, leftovers)).float().numpy()
        np.testing.assert_array_equal(value, rounded)
        np.testing.assert_array_equal(model.get_parameter(full).detach().numpy(), value)
    unchanged = [name for name in before if torch.equal(before[name], model.get_parameter(name))]
    assert any(name.endswith("dense.weight") for name in unchanged)


def test_freezing_changes_nothing_but_that():
    """What is evaluated afterwards is what was frozen, and freezing it again gives it again."""
    spec = QuantSpec.uniform(4, 8, weights={"all": {"method": "learned_range"}})
    model = calibrated_model(spec).train()
    first, inputs = freeze(model, spec), batch(model.config, [9, 23])
    assert not model.training
    with torch.no_grad():
        logits = model(**inputs).logits
    second = freeze(model, spec)
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, logits)
    assert first.activations == second.activations
    for name, weight in first.weights.items():
        np.testing.assert_array_equal(weight.packed, second.weights[name].packed)
        np.testing.assert_array_equal(weight.scale, second.weights[name].scale)


def test_later_training_does_not_reach_what_was_frozen():
    spec = QuantSpec.uniform(8, 8)
    model = calibrated_model(spec)
    packed = freeze(model, spec)
    before = {name: value.copy() for name, value in packed.floats.items()}
    trained(model, 0)
    for name, value in packed.floats.items():
        np.testing.assert_array_equal(value, before[name])


def test_the_config_names_the_architecture():
    spec = QuantSpec()
    packed = freeze(calibrated_model(spec, "BertForTokenClassification"), spec)
    assert packed.config["architectures"] == ["BertForTokenClassification"]
    assert packed.spec == spec


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (QuantSpec({"word_embedding": WeightSpec(None)}), "embeddings.word_embeddings.weight"),
        (QuantSpec({}, {"pooler_input": ActivationSpec(None)}), "pooler.dense.input"),
        (
            QuantSpec(overrides=(Override("encoder.layer.1.*.probs", {"bits": None}),)),
            "encoder.layer.1.attention.self.probs",
        ),
    ],
)
def test_a_spec_that_cannot_be_packed_names_the_tensor(spec, name):
    model = calibrated_model(spec)
    with torch.no_grad():
        assert model(**batch(model.config, [5])).logits.isfinite().all()  # it can be trained
    with pytest.raises(SpecError, match=f"^{name} stays float and cannot be packed"):
        freeze(model, spec)


def test_a_model_that_has_seen_no_data_yet_is_not_frozen():
    spec = QuantSpec.uniform(8, 8, activations={"all": {"method": "minmax"}})
    model = prepare(stock_model("BertForSequenceClassification"), spec)
    with pytest.raises(SpecError, match=r"^encoder\.layer\.0\..* has no range yet: calibrate the model"):
        freeze(model, spec)
