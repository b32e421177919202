"""The spec: what names mean, what is refused and how, and JSON there and back."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitbert.errors import SpecError
from bitbert.spec import (
    ACTIVATION_KINDS,
    ACTIVATION_METHODS,
    GRANULARITIES,
    GRIDS,
    WEIGHT_KINDS,
    ActivationSpec,
    CodeGrid,
    Override,
    QuantSpec,
    WeightSpec,
    activation_grid,
    activation_names,
    code_range,
    parse_bits,
    row_groups,
    tensor_kind,
    weight_names,
)

LINEAR = "encoder.layer.1.output.dense.weight"
INPUT = "encoder.layer.0.attention.self.input"


def test_every_tensor_has_a_kind():
    weights, activations = weight_names(3, pooler=True), activation_names(3, pooler=True)
    assert len(weights) == 3 + 3 * 6 + 1
    assert len(activations) == 3 * 9 + 1
    assert {tensor_kind(name) for name in weights} == set(WEIGHT_KINDS)
    assert {tensor_kind(name) for name in activations} == set(ACTIVATION_KINDS)
    assert set(weight_names(3, pooler=False)) == set(weights) - {"pooler.dense.weight"}
    assert set(activation_names(3, pooler=False)) == set(activations) - {"pooler.dense.input"}


@pytest.mark.parametrize(
    "name", ["classifier.weight", "bert.pooler.dense.weight", "encoder.layer.x.output.dense.weight"]
)
def test_other_tensors_have_none(name):
    with pytest.raises(SpecError, match=f"'{name}' is not a tensor of a BERT encoder that can be quantized"):
        tensor_kind(name)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("grid", GRIDS)
def test_code_ranges_are_symmetric_and_have_no_more_codes_than_the_width(bits, grid):
    low, high, step = code_range(bits, grid)
    codes = range(low, high + 1, step)
    assert low == -high
    assert len(codes) == 2**bits - (step == 1)
    assert (0 in codes) == (step == 1)


@pytest.mark.parametrize(
    ("spec", "kind", "grid"),
    [
        (ActivationSpec(4), "query", CodeGrid(121, 135, 128)),
        (ActivationSpec(1), "linear_input", CodeGrid(127, 129, 128, 2)),
        (ActivationSpec(4, symmetric=False), "linear_input", CodeGrid(0, 15, 0)),
        (ActivationSpec(8), "probs", CodeGrid(0, 127, 0)),
        (ActivationSpec(4, symmetric=False), "probs", CodeGrid(0, 15, 0)),
        (ActivationSpec(1), "probs", CodeGrid(0, 1, 0)),
    ],
)
def test_activation_grids(spec, kind, grid):
    assert activation_grid(spec, kind) == grid


@pytest.mark.parametrize(("rows", "head_dim"), [(1, None), (16, None), (40, None), (52, 26), (64, 32), (96, 16)])
def test_row_groups_cover_every_row_once_and_stay_in_their_head(rows, head_dim):
    groups = row_groups(rows, head_dim)
    assert [row for start, count in groups for row in range(start, start + count)] == list(range(rows))
    assert all(0 < count <= 16 for _, count in groups)
    span = head_dim or rows
    assert all(start // span == (start + count - 1) // span for start, count in groups)


def test_overrides_go_by_name_and_the_last_wins():
    spec = QuantSpec.uniform(
        4,
        8,
        overrides=[
            Override("encoder.layer.0.*.weight", {"bits": 8}),
            Override("encoder.layer.*.attention.self.query.weight", {"bits": 2, "granularity": "row"}),
            Override("*.self.input", {"scale": "per_token"}),
        ],
    )
    assert spec.weight("encoder.layer.0.output.dense.weight").bits == 8
    assert spec.weight("encoder.layer.0.attention.self.query.weight") == WeightSpec(2, granularity="row")
    assert spec.weight(LINEAR).bits == 4
    assert spec.activation(INPUT).scale == "per_token"
    assert spec.activation("encoder.layer.0.output.dense.input").scale == "static"


def test_uniform_sets_every_kind_then_each():
    spec = QuantSpec.uniform(
        2,
        4,
        weights={"all": {"method": "ternary"}, "pooler": {"bits": 8, "method": "lsq"}},
        activations={"probs": {"bits": 8}},
    )
    assert {kind for kind, w in spec.weights.items() if w == WeightSpec(2, "ternary")} == set(WEIGHT_KINDS) - {"pooler"}
    assert spec.weights["pooler"] == WeightSpec(8, "lsq")
    assert [spec.activations[kind].bits for kind in ("probs", "key")] == [8, 4]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WeightSpec(9), "9-bit weights are not supported, expected 0 to 8"),
        (lambda: WeightSpec(True), "True-bit weights are not supported"),
        (lambda: WeightSpec(method="adaround"), "unknown weight method 'adaround', expected one of: minmax, "),
        (lambda: WeightSpec(grid="log"), "unknown grid 'log', expected one of: mid_tread, mid_rise"),
        (
            lambda: WeightSpec(granularity="column"),
            "unknown granularity 'column', expected one of: tensor, row, row_group",
        ),
        (lambda: WeightSpec(packing="zip"), "unknown packing 'zip', expected one of: bits, base3"),
        (lambda: WeightSpec(4, packing="base3"), "packing 'base3' holds ternary codes only"),
        (lambda: WeightSpec(group_bits=(4, 8)), "group_bits needs granularity 'row_group' or 'row', not 'tensor'"),
        (lambda: WeightSpec(group_bits=4, granularity="row"), "group_bits must be a list, not int"),
        (lambda: WeightSpec(group_bits=(4, 9), granularity="row"), "9-bit weights are not supported"),
        (lambda: ActivationSpec(0), "0-bit activations are not supported, expected 1 to 8"),
        (lambda: ActivationSpec(method="ternary"), "unknown activation method 'ternary', expected one of: minmax, "),
        (lambda: ActivationSpec(scale="per_batch"), "unknown scale 'per_batch', expected one of: static, per_token"),
        (lambda: ActivationSpec(symmetric=1), "symmetric must be true or false, not 1"),
        (lambda: ActivationSpec(8, "lsq", scale="per_token"), "a per-token scale is computed, not learned"),
        (lambda: ActivationSpec(1, scale="per_token"), "1-bit activations need a static scale"),
        (lambda: activation_grid(ActivationSpec(None), "query"), "query stays float and has no codes"),
        (lambda: QuantSpec({"bias": WeightSpec()}), "unknown weight kind 'bias', expected one of: linear, pooler"),
        (lambda: QuantSpec({}, {"scores": ActivationSpec()}), "unknown activation kind 'scores'"),
        (lambda: QuantSpec(leftovers="bfloat16"), "unknown leftovers 'bfloat16', expected one of: float16, float32"),
        (lambda: QuantSpec({}, {"key": ActivationSpec(symmetric=False)}), "key: keys and values have no zero point"),
        (
            lambda: QuantSpec({}, {"probs": ActivationSpec(scale="per_token")}),
            "probs: a per-token scale is supported for",
        ),
        (
            lambda: QuantSpec.uniform(4, 8, weights={"head": {}}),
            "unknown weight kind 'head', expected one of: all, linear",
        ),
        (
            lambda: QuantSpec.uniform(4, 8, weights={"linear": {"bit": 4}}),
            "linear: unknown key 'bit', expected one of: bits",
        ),
        (lambda: QuantSpec().weight(INPUT), f"'{INPUT}' is an activation, not a weight"),
        (lambda: QuantSpec().activation(LINEAR), f"'{LINEAR}' is a weight, not an activation"),
        (
            lambda: QuantSpec(overrides=(Override("*.weight", {"bits": 10}),)).weight(LINEAR),
            f"{LINEAR}: 10-bit weights are",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(SpecError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("text", "bits"), [("w8a8", (8, 8)), ("w1a4", (1, 4)), ("w3a5", (3, 5))])
def test_widths(text, bits):
    assert parse_bits(text) == bits


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("8", "'8' is not a width: expected wXaY such as w8a8"),
        ("w4a8x", "'w4a8x' is not a width"),
        ("w0a8", "w0a8: 0-bit weights are not supported, expected 1 to 8"),
        ("w4a16", "w4a16: 16-bit activations are not supported, expected 1 to 8"),
    ],
)
def test_other_widths(text, message):
    with pytest.raises(SpecError, match=message):
        parse_bits(text)


def test_what_can_be_packed():
    QuantSpec.uniform(0, 1).check_packable(2, pooler=True)
    QuantSpec({}, {"gelu_input": ActivationSpec(None)}).check_packable(2, pooler=True)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (QuantSpec({"pooler": WeightSpec(None)}), "pooler.dense.weight"),
        (QuantSpec(overrides=(Override(LINEAR, {"bits": None}),)), LINEAR),
        (QuantSpec({}, {"value": ActivationSpec(None)}), "encoder.layer.0.attention.self.value.output"),
        (QuantSpec(overrides=(Override("*.probs", {"bits": None}),)), "encoder.layer.0.attention.self.probs"),
    ],
)
def test_what_cannot_be_packed_is_named(spec, name):
    with pytest.raises(SpecError, match=f"^{name} stays float and cannot be packed"):
        spec.check_packable(2, pooler=True)


def test_a_pooler_that_is_not_there_need_not_be_packed():
    QuantSpec({"pooler": WeightSpec(None)}).check_packable(2, pooler=False)


weight_specs = st.builds(
    WeightSpec,
    bits=st.one_of(st.none(), st.integers(0, 8)),
    method=st.sampled_from(["minmax", "learned_range", "lsq"]),
    grid=st.sampled_from(GRIDS),
    granularity=st.sampled_from(GRANULARITIES),
) | st.builds(WeightSpec, granularity=st.just("row"), group_bits=st.lists(st.integers(0, 8), max_size=4).map(tuple))
activation_specs = st.builds(
    ActivationSpec, bits=st.one_of(st.none(), st.integers(1, 8)), method=st.sampled_from(ACTIVATION_METHODS)
)
specs = st.builds(
    QuantSpec,
    weights=st.dictionaries(st.sampled_from(WEIGHT_KINDS), weight_specs),
    activations=st.dictionaries(st.sampled_from(ACTIVATION_KINDS), activation_specs),
    overrides=st.lists(
        st.builds(Override, st.sampled_from(["*", LINEAR]), st.fixed_dictionaries({"bits": st.integers(1, 8)}))
    ).map(tuple),
    leftovers=st.sampled_from(["float16", "float32"]),
)


@settings(max_examples=50, deadline=None)
@given(specs)
def test_json_there_and_back(spec):
    assert QuantSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "spec must be an object, not list"),
        ({"weight": {}}, "spec: unknown key 'weight', expected one of: weights, activations, overrides, leftovers"),
        ({"weights": []}, "weights must be an object, not list"),
        ({"weights": {"linear": 4}}, "linear must be an object, not int"),
        ({"weights": {"linear": {"bits": "4"}}}, "linear: 4-bit weights are not supported"),
        ({"activations": {"query": {"bits": 8.0}}}, "query: 8.0-bit activations are not supported"),
        ({"overrides": {"tensors": "*"}}, "overrides must be a list, not dict"),
        ({"overrides": [{"bits": 4}]}, "an override needs 'tensors', a pattern on tensor names"),
    ],
)
def test_malformed_json_is_refused(data, message):
    with pytest.raises(SpecError, match=message):
        QuantSpec.from_json(data)
