"""Operation by operation, from the same input codes: torch, the numpy reference, every instruction set of the engine.

Integer sums are equal. Codes are equal wherever the number before rounding is farther from a tie than docs/numerics.md
derives; and that bound itself holds for every number, tie or not.
"""

import numpy as np
import pytest
import torch

from agreement.bounds import Bounds
from agreement.engine_side import engine_codes, layer_norms
from agreement.fake_quantized import alone, watch
from bitbert.freeze import freeze
from bitbert.runtime.reference import Reference
from bitbert.spec import QuantSpec, activation_names
from support.random_model import ARCHITECTURES, random_ids, tiny_config, with_mixed_groups
from support.tiny_bert import calibrated_model

native = pytest.importorskip("bitbert._native", reason="the native engine is not built")
engine = pytest.importorskip("bitbert.runtime.engine")

PER_TOKEN = {kind: {"scale": "per_token", "method": "minmax"} for kind in ("linear_input", "pooler_input")}
PER_TOKEN_ASYMMETRIC = {kind: options | {"symmetric": False} for kind, options in PER_TOKEN.items()}
ASYMMETRIC = {kind: {"symmetric": False} for kind in ("linear_input", "pooler_input", "query", "probs", "gelu_input")}


def learned(method, activations=()):
    return {"weights": {"all": {"method": method}}, "activations": {"all": {"method": method}} | dict(activations)}


SPECS = {
    "w8a8": QuantSpec.uniform(8, 8),
    "w4a8-learned-range": QuantSpec.uniform(4, 8, **learned("learned_range")),
    "w3a5-lsq-asymmetric": QuantSpec.uniform(3, 5, **learned("lsq", ASYMMETRIC)),
    "w2a8-ternary-rows": QuantSpec.uniform(2, 8, weights={"all": {"method": "ternary", "granularity": "row"}}),
    "w2a8-mid-rise": QuantSpec.uniform(2, 8, weights={"all": {"grid": "mid_rise", "granularity": "row_group"}}),
    "w1a8-binary": QuantSpec.uniform(1, 8, weights={"all": {"method": "binary", "granularity": "row"}}),
    "w4a4-mse-gradient": QuantSpec.uniform(4, 4, **learned("mse_gradient", ASYMMETRIC)),
    "w1a1": QuantSpec.uniform(1, 1, **learned("lsq")),
    "w4a4-per-token": QuantSpec.uniform(4, 4, activations=PER_TOKEN),
    "w4a8-per-token-asymmetric": QuantSpec.uniform(4, 8, activations=PER_TOKEN_ASYMMETRIC, leftovers="float32"),
    "w8a8-float-gelu": QuantSpec.uniform(8, 8, activations={"gelu_input": {"bits": None}}),
    "mixed-and-pruned": with_mixed_groups(QuantSpec.uniform(4, 8), tiny_config()),
}


def compare(model, spec, lengths=(1, 9, 40)):
    """Assert agreement on a few sequences; the fraction of codes that the bounds leave unsure."""
    packed = freeze(model, spec)
    reference, engines = Reference(packed), [engine.Engine(packed, isa) for isa in native.available_isas()]
    unsure = []
    for ids, types in zip(*random_ids(dict(packed.config), lengths), strict=True):
        traces = [runner.trace(ids, types) for runner in engines]
        output = reference.run(ids, types)
        for trace in traces:
            for name, value in output.trace.items():
                np.testing.assert_array_equal(trace[name], value, err_msg=name)
        unsure.append(compare_sequence(model, reference, output, traces[0], ids, types))
    return np.mean(unsure)


def compare_sequence(model, reference, output, trace, ids, types):
    packed, layers = reference.model, reference.architecture.num_hidden_layers
    names = [n for n in activation_names(layers, reference.architecture.pooler) if n in trace]
    expected = {name: engine_codes(packed, trace, name) for name in names}
    norms = layer_norms(trace, layers)
    forced = {name: codes.as_torch() for name, codes in expected.items()}
    forced |= {name: torch.from_numpy(x)[None] for name, x in norms.items()}
    seen, bounds = watch(model, alone(ids, types), forced), Bounds(reference, trace).run(ids, types)
    compare_products(seen, trace, layers)
    for module, x in (norms | {"pooler": output.pooled, "head": output.logits}).items():
        if x is not None:
            assert (np.abs(seen.floats[module] - x.astype(np.float64)) <= bounds.floats[module]).all(), module
    return np.mean([compare_codes(seen, codes, bounds.codes[name], name) for name, codes in expected.items()])


def compare_products(seen, trace, layers):
    """Sums of linear layers as integers; scores and context as the floats that one scale makes of them: all equal."""
    products = iter(seen.products)
    for i in range(layers):
        layer = f"encoder.layer.{i}"
        for part in ("query", "key", "value"):
            np.testing.assert_array_equal(next(products), trace[f"{layer}.attention.self.{part}.acc"])
        np.testing.assert_array_equal(seen.scores[i], trace[f"{layer}.attention.self.probs.value"])
        next(products), next(products)  # scores and context, which the trace has as floats
        for part in ("attention.output", "intermediate", "output"):
            np.testing.assert_array_equal(next(products), trace[f"{layer}.{part}.dense.acc"])
    for pooled in products:
        np.testing.assert_array_equal(pooled, trace["pooler.dense.acc"][0])


def compare_codes(seen, expected, bound, name):
    with np.errstate(invalid="ignore"):
        difference = np.abs(seen.steps[name].astype(np.float64) - expected.steps)
    assert (difference <= bound).all(), f"{name}: {np.nanmax(difference - bound)} beyond the bound"
    sure = (expected.to_tie > bound) | (bound == 0)
    np.testing.assert_array_equal(seen.codes[name][sure], expected.codes[sure], err_msg=name)
    return 1 - sure.mean()


# A code is unsure if a number of up to 127 steps falls within some 100 of its roundings, 2^-24 each, of a tie on either
# side: one in 650.
MOST_UNSURE = 2 * 127 * 100 * 2.0**-24


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_every_kind_of_spec(spec):
    assert compare(calibrated_model(spec), spec) < MOST_UNSURE


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_head(architecture):
    spec = QuantSpec.uniform(8, 8)
    assert compare(calibrated_model(spec, architecture), spec) < MOST_UNSURE


@pytest.mark.parametrize("gelu_bits", [8, None])
@pytest.mark.parametrize("function", ["gelu", "relu", "gelu_new", "gelu_pytorch_tanh"])
def test_every_activation_function(function, gelu_bits):
    spec = QuantSpec.uniform(8, 8, activations={"gelu_input": {"bits": gelu_bits}})
    assert compare(calibrated_model(spec, hidden_act=function), spec) < MOST_UNSURE


@pytest.mark.parametrize(("hidden", "heads"), [(312, 12), (52, 2), (128, 2)])  # heads of 26, 26 and 64
def test_odd_sizes(hidden, heads):
    spec = QuantSpec.uniform(4, 8, weights={"all": {"granularity": "row_group"}})
    sizes = {"hidden_size": hidden, "num_attention_heads": heads, "intermediate_size": 2 * hidden + 3}
    assert compare(calibrated_model(spec, **sizes), spec) < MOST_UNSURE


def test_long_sums():
    """2,000 products of 8-bit codes pass 2^24, so float32 adds them up in pieces."""
    spec = QuantSpec.uniform(8, 8)
    assert compare(calibrated_model(spec, intermediate_size=2000), spec, lengths=[40]) < MOST_UNSURE
