"""The native encoder by itself: what it refuses, concurrent callers, forked processes, tracing.

That it computes what the reference does is tested in tests/runtime.
"""

import os
import threading

import numpy as np
import pytest

from bitbert.checkpoint import Architecture
from bitbert.spec import QuantSpec
from support.kernel_cases import ISAS, native
from support.random_model import random_ids, random_model, tiny_config

engine = pytest.importorskip("bitbert.runtime.engine")

CONFIG = tiny_config()
QUERY = "encoder.layer.0.attention.self.query"
NAN = np.full(64, np.nan, np.float32)


def arguments(spec=None, config=CONFIG):
    """What `_native.Encoder` takes for a random model: config, weights, activations, floats."""
    model = random_model(spec, config)
    architecture = Architecture.from_config(config)
    return (
        {name: getattr(architecture, name) for name in engine._FIELDS},
        {name: engine._weight(model, name) for name in model.weights},
        {name: engine._activation(model, name) for name in engine._activations(architecture)},
        dict(model.floats),
    )


def tokens(lengths, seed=0):
    ids, types = random_ids(CONFIG, lengths, seed)
    return np.concatenate(ids), np.concatenate(types), np.cumsum([0, *lengths], dtype=np.int64)


@pytest.fixture(scope="module")
def encoder():
    return native.Encoder(*arguments())


# ---- What the constructor refuses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 0}, "hidden_size: 0 is out of range"),
        ({"hidden_size": 65537}, "hidden_size: 65537 is out of range, expected 1 to 65536"),
        ({"num_attention_heads": 3}, "num_attention_heads: hidden_size 64 is not a multiple of 3"),
        ({"intermediate_size": -1}, "intermediate_size: -1 is out of range"),
        ({"vocab_size": 102}, "word_embeddings.weight: 101 scales, expected 102"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps: must be finite"),
        ({"hidden_act": "swish"}, "hidden_act: 'swish' is not supported"),
        ({"head": "tail"}, "head: 'tail' is unknown, expected one of: none, sequence, token"),
        ({"pooler": False}, "head: a sequence head needs the pooler"),
        ({"num_labels": 3}, "classifier.weight: 128 values, expected 192"),
        ({"num_labels": "2"}, "num_labels: expected an integer"),
    ],
)
def test_config(changes, message):
    config, *rest = arguments()
    with pytest.raises(ValueError, match=message):
        native.Encoder(config | changes, *rest)


def test_config_without_a_key():
    config, *rest = arguments()
    del config["pooler"]
    with pytest.raises(ValueError, match="pooler: missing from the config"):
        native.Encoder(config, *rest)


@pytest.mark.parametrize(
    ("index", "value", "message"),
    [
        (0, np.zeros(5, np.uint8), "5 bytes of codes, expected 4096"),
        (0, np.zeros(4096, np.int8), "expected .*packed uint8"),
        (0, np.zeros((64, 64), np.uint8), "expected .*packed uint8"),
        (0, np.zeros(8192, np.uint8)[::2], "expected .*packed uint8"),
        (0, np.full(4096, 255, np.uint8), "a code is outside the 8-bit grid"),
        (1, np.full(4, 9, np.uint8), "9-bit weights are not supported, expected 0 to 8"),
        (1, np.full(3, 8, np.uint8), "3 widths of row groups, expected 4"),
        (2, np.ones(63, np.float32), "63 scales, expected 64"),
        (2, np.zeros(64, np.float32), "the scale of row 0 is not positive"),
        (2, NAN, "the scale of row 0 is not positive"),
        (2, np.ones(64), "expected .*scale float32"),
        (3, "mid_way", "'mid_way' is unknown, expected one of: mid_tread, mid_rise"),
        (4, "base3", "base3 holds ternary codes only"),
        (4, "base5", "'base5' is unknown, expected one of: bits, base3"),
    ],
)
def test_weights(index, value, message):
    config, weights, *rest = arguments()
    weight = list(weights[f"{QUERY}.weight"])
    weight[index] = value
    with pytest.raises(ValueError, match=f"{QUERY}.weight: {message}"):
        native.Encoder(config, weights | {f"{QUERY}.weight": tuple(weight)}, *rest)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("output", (0.1, 128, 1, 255, 1, "per_token_symmetric"), "this kind of scale is not supported here"),
        ("output", (0.0, 128, 1, 255, 1, "static"), "the scale is not positive"),
        ("output", (1e-45, 128, 1, 255, 1, "static"), "the scale is not positive"),
        ("output", (0.1, 128, 1, 256, 1, "static"), "codes 1 to 256 do not fit a byte"),
        ("output", (0.1, 0, 1, 255, 1, "static"), "zero point 0 is not a code"),
        ("output", (0.1, 128, 1, 255, 2, "static"), "step must be 1, or 2 on the grid"),
        ("output", (0.1, 128, 1, 255, 1, "dynamic"), "'dynamic' is unknown"),
        ("output", (0.1, 128, 1, 255, 1), "expected .scale, zero_point, low, high, step, kind."),
        ("output", 7, "expected .scale, zero_point, low, high, step, kind."),
    ],
)
def test_activations(name, value, message):
    config, weights, activations, floats = arguments()
    with pytest.raises(ValueError, match=f"{QUERY}.{name}: {message}"):
        native.Encoder(config, weights, activations | {f"{QUERY}.{name}": value}, floats)


@pytest.mark.parametrize("which", [1, 2, 3])
def test_missing_and_superfluous_tensors(which):
    names = (None, f"{QUERY}.weight", f"{QUERY}.output", f"{QUERY}.bias")
    values = arguments()
    tensor = values[which].pop(names[which])
    with pytest.raises(ValueError, match=f"{names[which]}: this .* is missing"):
        native.Encoder(*values)
    values[which].update({names[which]: tensor, "encoder.layer.9.x": tensor})
    with pytest.raises(ValueError, match=r"encoder\.layer\.9\.x: the encoder has no such tensor"):
        native.Encoder(*values)


def test_floats():
    *rest, floats = arguments()
    with pytest.raises(ValueError, match=f"{QUERY}.bias: a value is not finite"):
        native.Encoder(*rest, floats | {f"{QUERY}.bias": NAN})
    with pytest.raises(ValueError, match=f"{QUERY}.bias: expected a contiguous float32 array"):
        native.Encoder(*rest, floats | {f"{QUERY}.bias": np.zeros(64)})


# ---- What forward refuses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "offsets", "message"),
    [
        ([1, 2, 101], [0, 3], "token id 101 at token 2 is out of range, expected 0 to 100"),
        ([1, -1], [0, 2], "token id -1 at token 1 is out of range"),
        ([1, 2], [0, 1], "offsets: must run from 0 to the number of tokens, 2"),
        ([1, 2], [1, 2], "offsets: must run from 0"),
        ([1, 2], [0, 0, 2], "offsets: sequence 0 is empty or not inside the tokens"),
        ([1, 2], [0, 5, 2], "offsets: sequence 0 is empty or not inside the tokens"),
        ([1, 2], [0, -(2**63), 2], "offsets: sequence 0 is empty or not inside the tokens"),
        ([], [0, 0], "offsets: sequence 0 is empty"),
        ([], [0], "offsets: expected one more than there are sequences"),
        ([], [], "offsets: expected one more than there are sequences"),
        ([1] * 41, [0, 41], "sequence 0 has 41 tokens, expected 1 to 40"),
    ],
)
def test_tokens(encoder, ids, offsets, message):
    ids = np.array(ids, np.int32)
    with pytest.raises(ValueError, match=message):
        encoder.forward(ids, np.zeros_like(ids), np.array(offsets, np.int64), "logits", 1)


def test_other_arguments(encoder):
    ids, types, offsets = tokens([3])
    with pytest.raises(ValueError, match="token type 2 at token 1 is out of range"):
        encoder.forward(ids, np.array([0, 2, 0], np.int32), offsets, "logits", 1)
    with pytest.raises(ValueError, match="token_types: 2 values for 3 ids"):
        encoder.forward(ids, types[:2], offsets, "logits", 1)
    with pytest.raises(ValueError, match="output: 'attention' is unknown, expected one of: hidden, pooled"):
        encoder.forward(ids, types, offsets, "attention", 1)
    for threads in (0, -1, 1025):
        with pytest.raises(ValueError, match=f"threads: {threads} is out of range, expected 1 to 1024"):
            encoder.forward(ids, types, offsets, "logits", threads)
    with pytest.raises(TypeError):
        encoder.forward(ids.astype(np.int64), types, offsets, "logits", 1)


def test_outputs_that_the_model_lacks():
    config = tiny_config("BertForTokenClassification")
    encoder = native.Encoder(*arguments(config=config))
    with pytest.raises(ValueError, match="output 'pooled': this model has no pooler"):
        encoder.forward(*tokens([3]), "pooled", 1)
    encoder = native.Encoder(*arguments(config=tiny_config("BertModel")))
    with pytest.raises(ValueError, match="output 'logits': this model has no head"):
        encoder.forward(*tokens([3]), "logits", 1)


def test_a_refused_call_does_no_harm(encoder):
    before = encoder.forward(*tokens([5, 9]), "logits", 2)
    with pytest.raises(ValueError, match="token id"):
        encoder.forward(np.array([-1], np.int32), np.zeros(1, np.int32), np.array([0, 1]), "logits", 2)
    assert (encoder.forward(*tokens([5, 9]), "logits", 2) == before).all()


# ---- One answer ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    "spec",
    [
        QuantSpec.uniform(4, 8),
        QuantSpec.uniform(2, 4, activations={"linear_input": {"scale": "per_token", "symmetric": False}}),
        QuantSpec.uniform(8, 8, activations={"gelu_input": {"bits": None}}),
    ],
    ids=["static", "per_token", "float_gelu"],
)
def test_any_threads_and_instruction_set(isa, spec):
    lengths = [40, 1, 7, 33, 40, 16, 40, 25]  # several blocks of tokens, cut inside sequences
    batch = tokens(lengths)
    expected = native.Encoder(*arguments(spec), "scalar").forward(*batch, "hidden", 1)
    encoder = native.Encoder(*arguments(spec), isa)
    assert encoder.isa == isa
    for threads in (1, 2, 3, 7):
        assert (encoder.forward(*batch, "hidden", threads) == expected).all()


@pytest.mark.parametrize("isa", ISAS)
def test_tracing_changes_nothing(isa):
    encoder = native.Encoder(*arguments(QuantSpec.uniform(4, 8)), isa)
    ids, types, offsets = tokens([29])
    trace = encoder.trace(ids, types)
    assert (trace["logits"] == encoder.forward(ids, types, offsets, "logits", 1)).all()
    assert (trace["encoder.layer.1.hidden"] == encoder.forward(ids, types, offsets, "hidden", 1)).all()
    assert trace["encoder.layer.0.attention.self.probs"].shape == (2, 29, 29)
    assert trace["encoder.layer.0.attention.self.key.output"].dtype == np.int8


def test_several_callers_at_once(encoder):
    batches = [tokens([seed % 40 + 1, 12], seed) for seed in range(8)]
    expected = [encoder.forward(*batch, "logits", 1) for batch in batches]
    wrong = []

    def call(index):
        for _ in range(20):
            if not (encoder.forward(*batches[index], "logits", index % 3 + 1) == expected[index]).all():
                wrong.append(index)

    callers = [threading.Thread(target=call, args=(index,)) for index in range(len(batches))]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own(encoder):
    batch = tokens([30, 30])
    expected = encoder.forward(*batch, "logits", 2)
    child = os.fork()
    if child == 0:
        os._exit(0 if (encoder.forward(*batch, "logits", 2) == expected).all() else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_weights_stay_narrow_in_memory():
    wide, narrow = (native.Encoder(*arguments(QuantSpec.uniform(bits, 8))).weight_bytes for bits in (8, 1))
    per_column = 12  # scale, bias and row sum
    config = arguments()[0]
    columns = config["num_hidden_layers"] * (5 * 64 + 96) + 64
    codes = narrow - columns * per_column
    assert codes * 7 < wide - columns * per_column < codes * 8
