"""The engine against the numpy reference, bit for bit; one answer whatever the batch, threads and instruction set."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitbert.errors import InstructionSetError
from bitbert.runtime.reference import Reference
from bitbert.spec import ACTIVATION_KINDS, WEIGHT_KINDS, ActivationSpec, QuantSpec, WeightSpec
from support.random_model import ARCHITECTURES, random_ids, random_model, tiny_config, with_mixed_groups

native = pytest.importorskip("bitbert._native", reason="the native engine is not built")
engine = pytest.importorskip("bitbert.runtime.engine")

BYTE_KINDS = ("linear_input", "pooler_input", "query", "probs", "gelu_input")  # those that may have a zero point
ASYMMETRIC = {kind: {"symmetric": False} for kind in BYTE_KINDS}
PER_TOKEN = {kind: {"scale": "per_token"} for kind in ("linear_input", "pooler_input")}
MID_RISE = {"all": {"grid": "mid_rise"}}


def same_bits(one, other):
    return np.array_equal(np.atleast_2d(one).view(np.int32), np.atleast_2d(other).view(np.int32))


def assert_engine_is_reference(spec, config, lengths=(1, 17), seed=0):
    """Every output on every instruction set, and every intermediate of `scalar`, has the bits of the reference."""
    model = random_model(spec, config, seed)
    reference = Reference(model)
    engines = [engine.Engine(model, isa) for isa in native.available_isas()]
    for ids, types in zip(*random_ids(config, lengths, seed), strict=True):
        expected, trace = reference.run(ids, types), engines[0].trace(ids, types)
        for name, value in expected.trace.items():
            np.testing.assert_array_equal(trace[name], value, err_msg=name)
        for output in engine.OUTPUTS:
            value = getattr(expected, output)
            for tested in engines if value is not None else ():
                assert same_bits(tested.forward([ids], [types], output=output, threads=1), value), (tested.isa, output)


@pytest.mark.parametrize("bits", range(9))
def test_every_width(bits):
    assert_engine_is_reference(QuantSpec.uniform(bits, max(bits, 1)), tiny_config())


@pytest.mark.parametrize("bits", [1, 2])
def test_mid_rise_grids(bits):
    assert_engine_is_reference(QuantSpec.uniform(bits, 8, weights=MID_RISE), tiny_config())


def test_ternary_in_base3():
    assert_engine_is_reference(QuantSpec.uniform(2, 8, weights={"all": {"packing": "base3"}}), tiny_config())


@pytest.mark.parametrize(("hidden", "heads"), [(312, 12), (52, 2), (64, 2), (128, 2), (19, 1)])  # heads of 26, 32, 64
@pytest.mark.parametrize("mixed", [False, True])
def test_odd_sizes(hidden, heads, mixed):
    config = tiny_config(hidden_size=hidden, num_attention_heads=heads, intermediate_size=2 * hidden + 3)
    spec = QuantSpec.uniform(4, 8)
    assert_engine_is_reference(with_mixed_groups(spec, config) if mixed else spec, config)


@pytest.mark.parametrize("grid", ["mid_tread", "mid_rise"])
def test_mixed_row_groups_with_pruned_ones(grid):
    spec = with_mixed_groups(QuantSpec.uniform(4, 8, weights={"all": {"grid": grid}}), tiny_config(), widths=range(9))
    assert_engine_is_reference(spec, tiny_config())


@pytest.mark.parametrize("granularity", ["row", "row_group"])
def test_granularities(granularity):
    assert_engine_is_reference(QuantSpec.uniform(4, 8, weights={"all": {"granularity": granularity}}), tiny_config())


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_asymmetric_activations(bits):
    assert_engine_is_reference(QuantSpec.uniform(4, bits, activations=ASYMMETRIC), tiny_config())


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_per_token_activations(bits, symmetric):
    per_token = {kind: options | {"symmetric": symmetric} for kind, options in PER_TOKEN.items()}
    assert_engine_is_reference(QuantSpec.uniform(4, bits, activations=per_token), tiny_config())


@pytest.mark.parametrize("bits", [8, None])
@pytest.mark.parametrize("hidden_act", ["gelu", "relu", "gelu_new", "gelu_pytorch_tanh"])
def test_activation_functions(hidden_act, bits):
    spec = QuantSpec.uniform(4, 8, activations={"gelu_input": {"bits": bits}})
    assert_engine_is_reference(spec, tiny_config(hidden_act=hidden_act))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_heads(architecture):
    assert_engine_is_reference(QuantSpec.uniform(8, 8), tiny_config(architecture))


@st.composite
def specs(draw):
    """Any spec that can be packed."""
    weights, activations = {}, {}
    for kind in WEIGHT_KINDS:
        bits, grid = draw(st.integers(0, 8)), draw(st.sampled_from(["mid_tread", "mid_rise"]))
        packing = draw(st.sampled_from(["bits", "base3"])) if (bits, grid) == (2, "mid_tread") else "bits"
        weights[kind] = WeightSpec(
            bits, grid=grid, packing=packing, granularity=draw(st.sampled_from(["tensor", "row", "row_group"]))
        )
    for kind in ACTIVATION_KINDS:
        bits = draw(st.integers(1, 8))
        per_token = kind in PER_TOKEN and bits > 1 and draw(st.booleans())
        symmetric = kind not in BYTE_KINDS or draw(st.booleans())
        activations[kind] = ActivationSpec(bits, symmetric=symmetric, scale="per_token" if per_token else "static")
    if draw(st.booleans()):
        activations["gelu_input"] = ActivationSpec(None)
    return QuantSpec(weights, activations, leftovers=draw(st.sampled_from(["float16", "float32"])))


@settings(max_examples=40, deadline=None)
@given(specs(), st.integers(0, 2**16))
def test_any_spec(spec, seed):
    assert_engine_is_reference(spec, tiny_config(), lengths=(9,), seed=seed)


# ---- One answer ------------------------------------------------------------------------------------------------------

ONE_ANSWER_SPECS = {
    "w8a8": QuantSpec.uniform(8, 8),
    "w4a8-per-token": QuantSpec.uniform(4, 8, activations=PER_TOKEN),
    "w2a8-asymmetric": QuantSpec.uniform(2, 8, activations=ASYMMETRIC),
    "w1a1": QuantSpec.uniform(1, 1),
}


@pytest.mark.parametrize("spec", ONE_ANSWER_SPECS.values(), ids=ONE_ANSWER_SPECS.keys())
@pytest.mark.parametrize("isa", native.available_isas())
def test_one_answer(isa, spec):
    config = tiny_config(hidden_size=128, intermediate_size=200, max_position_embeddings=300)
    model = random_model(spec, config)
    lengths = [*np.random.default_rng(0).integers(1, 60, 63).tolist(), 300]
    ids, types = random_ids(config, lengths)
    reference = engine.Engine(model, "scalar")
    alone = np.concatenate([reference.forward([i], [t], threads=1) for i, t in zip(ids, types, strict=True)])
    under_test = engine.Engine(model, isa)
    assert under_test.isa == isa
    for threads in (1, 2):
        together = under_test.forward(ids, types, threads=threads)
        assert same_bits(together, alone)
        for pick in (0, 40, 63):
            single = under_test.forward(ids[pick : pick + 1], types[pick : pick + 1], threads=threads)
            assert same_bits(single, alone[pick])


# ---- Edges -----------------------------------------------------------------------------------------------------------


def test_an_instruction_set_that_is_not_there_is_refused(monkeypatch):
    with pytest.raises(InstructionSetError, match=r"'avx9' cannot run: this CPU and build have scalar"):
        engine.Engine(random_model(), "avx9")
    monkeypatch.setenv("BITBERT_ISA", "neon")
    with pytest.raises(InstructionSetError, match="'neon' cannot run"):
        engine.Engine(random_model())
    assert engine.Engine(random_model(), "scalar").isa == "scalar"


def test_token_types_default_to_zero():
    model = random_model()
    ids, _ = random_ids(model.config, [9])
    default, zeros = (engine.Engine(model).forward(ids, types) for types in (None, [np.zeros_like(ids[0])]))
    np.testing.assert_array_equal(default, zeros)


def test_fewer_bits_take_less_memory():
    held = [engine.Engine(random_model(QuantSpec.uniform(bits, 8))).weight_bytes for bits in (8, 4, 2, 1)]
    assert held == sorted(held, reverse=True)
    assert len(set(held)) == 4
