"""Reading: every way in which a directory can be wrong is one clear line that names the file, and the tensor."""

import contextlib
import functools
import json
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitbert.checkpoint import read, write
from bitbert.checkpoint.header import DTYPES, digest
from bitbert.errors import CheckpointError
from bitbert.spec import QuantSpec
from support.random_model import random_model, tiny_config

QUERY = "bert.encoder.layer.0.attention.self.query.weight"
BIAS = "bert.encoder.layer.1.output.dense.bias"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    spec = QuantSpec.uniform(4, 8, activations={"linear_input": {"symmetric": False, "bits": 4}})
    return write(random_model(spec), tmp_path_factory.mktemp("pristine") / "model")


@pytest.fixture
def directory(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "model")


def refused(directory, message, file="model.safetensors"):
    with pytest.raises(CheckpointError, match=message) as caught:
        read(directory)
    text = str(caught.value)
    assert text.startswith(str(directory / file))
    assert "\n" not in text


def split(directory):
    """The header of `model.safetensors` as a dict, and its data."""
    raw = (directory / "model.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), bytearray(raw[8 + length :])


def join(directory, header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    (directory / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(data))


def change_value(directory, name, value):
    """Put another value at the start of a tensor, under a digest that is right."""
    header, data = split(directory)
    entries = {key: entry for key, entry in header.items() if key != "__metadata__"}
    dtype = DTYPES[entries[name]["dtype"]]
    begin = entries[name]["data_offsets"][0]
    data[begin : begin + dtype.itemsize] = np.array(value).astype(dtype).tobytes()
    layout = {key: (entry["dtype"], tuple(entry["shape"])) for key, entry in entries.items()}
    tensors = {key: np.frombuffer(data[slice(*entry["data_offsets"])], np.uint8) for key, entry in entries.items()}
    header["__metadata__"]["sha256"] = digest(layout, tensors)
    join(directory, header, data)


def test_the_pristine_directory_is_read(directory):
    read(directory)


# ---- The file --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 5, 8, 1000, -1])
def test_truncated(directory, size):
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    refused(directory, "truncated|empty")


def test_missing_file(directory):
    (directory / "model.safetensors").unlink()
    refused(directory, "cannot be read: No such file")


def test_missing_directory(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere is not a directory"):
        read(tmp_path / "nowhere")


def test_trailing_bytes(directory):
    with (directory / "model.safetensors").open("ab") as file:
        file.write(b"\0")
    refused(directory, "bytes of data, but its header describes")


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.99])
def test_bit_flip_in_the_data(directory, fraction):
    header, data = split(directory)
    data[int(fraction * len(data))] ^= 0x10
    join(directory, header, data)
    refused(directory, "does not match its SHA-256")


def test_no_bit_flip_in_the_header_goes_unnoticed(directory):
    path = directory / "model.safetensors"
    raw = path.read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    for position in np.random.default_rng(0).integers(0, end, 150):
        if raw[position : position + 1] == b" ":
            continue  # blanks behind the JSON mean nothing, though a changed one is no longer JSON
        flipped = bytearray(raw)
        flipped[position] ^= 1 << int(position) % 7
        path.write_bytes(flipped)
        refused(directory, ".")


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 10_000_000, 10**12])
def test_oversized_header(directory, length):
    path = directory / "model.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + path.read_bytes()[8:])
    refused(directory, f"header claims {length} bytes")


def test_header_longer_than_any_encoder_needs(directory):
    with (directory / "model.safetensors").open("r+b") as file:
        file.write((2**27).to_bytes(8, "little"))
        file.truncate(2**28)  # sparse: the claim fits the file, and is refused all the same
    refused(directory, "header claims")


# ---- The header ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "header is not valid JSON"),
        (b"[]", "header must be a JSON object, not list"),
        (b'{"a": 1, "a": 2}', "key 'a' stands twice"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b"[" * 100_000, "header is not valid JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "header is not valid JSON"),
        (b"\xff\xfe", "header is not valid JSON"),
        (b"{}", "no bitbert metadata"),
        (b'{"__metadata__": {"format": "pt"}}', "no bitbert metadata"),
    ],
)
def test_malformed_header(directory, text, message):
    join(directory, text, b"")
    refused(directory, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "I64"}, "has dtype 'I64', expected one of: U8, F16, F32"),
        ({"dtype": ["F16"]}, "has dtype"),
        ({"shape": [10**30]}, "malformed shape or data_offsets"),
        ({"shape": [-64]}, "malformed shape or data_offsets"),
        ({"shape": [True]}, "malformed shape or data_offsets"),
        ({"shape": [64.0]}, "malformed shape or data_offsets"),
        ({"shape": [1] * 100}, "malformed shape or data_offsets"),
        ({"shape": 64}, "malformed shape or data_offsets"),
        ({"shape": [2**62]}, "bytes, but F16 .* needs"),
        ({"data_offsets": [0]}, "malformed shape or data_offsets"),
        ({"data_offsets": [128, 0]}, "has -128 bytes"),
        ({"extra": 1}, "must have exactly dtype, shape and data_offsets"),
    ],
)
def test_malformed_entry(directory, change, message):
    header, data = split(directory)
    header[BIAS] |= change
    join(directory, header, data)
    refused(directory, f"{BIAS}.*{message}")


def test_overlapping_offsets(directory):
    header, data = split(directory)
    header[BIAS]["data_offsets"] = next(
        entry["data_offsets"] for name, entry in header.items() if entry.get("shape") == [64] and name != BIAS
    )
    join(directory, header, data)
    refused(directory, "begins at byte .* but the tensor before it ends at")


def test_missing_tensor(directory):
    header, data = split(directory)
    last = max((entry["data_offsets"], name) for name, entry in header.items() if name != "__metadata__")[1]
    begin = header.pop(last)["data_offsets"][0]
    join(directory, header, data[:begin])
    refused(directory, f"{last} is missing")


def test_extra_tensor(directory):
    header, data = split(directory)
    header["surprise"] = {"dtype": "U8", "shape": [1], "data_offsets": [len(data), len(data) + 1]}
    join(directory, header, data + b"\0")
    refused(directory, "surprise is not a tensor that config and spec call for")


@pytest.mark.parametrize(("dtype", "shape"), [("U8", [128]), ("F32", [32]), ("F16", [2, 32])])
def test_wrong_dtype_or_shape(directory, dtype, shape):
    header, data = split(directory)
    header[BIAS] |= {"dtype": dtype, "shape": shape}
    join(directory, header, data)
    refused(directory, re.escape(f"{BIAS} is {dtype} {shape}, expected F16 [64]"))


# ---- Values, under a digest that is right ----------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_bad_weight_scale(directory, scale):
    change_value(directory, f"{QUERY}_scale", scale)
    refused(directory, "query.weight: the scale of row 0 is")


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_bad_activation_scale(directory, scale):
    change_value(directory, "bert.encoder.layer.0.attention.self.input_scale", scale)
    refused(directory, "self.input: the scale is .*, it must be finite and positive")


def test_zero_point_out_of_range(directory):
    change_value(directory, "bert.encoder.layer.0.attention.self.input_zero_point", 16)
    refused(directory, "self.input: the zero point is 16, it must be from 0 to 15")


def test_field_out_of_range(directory):
    change_value(directory, f"{QUERY}_packed", 0xFF)
    refused(directory, "query.weight holds field 15, but 4 bits on the mid_tread grid end at 14")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_float_that_is_not_finite(directory, value):
    change_value(directory, BIAS, value)
    refused(directory, "output.dense.bias holds a value that is not finite")


# ---- The config ------------------------------------------------------------------------------------------------------


def edit_config(directory, change):
    path = directory / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("hidden_size", 2**40, "hidden_size must be a whole number from 1 to 65536, not 1099511627776"),
        ("hidden_size", 65, "hidden_size 65 is not a multiple of num_attention_heads 2"),
        ("hidden_size", 0, "hidden_size must be"),
        ("hidden_size", True, "hidden_size must be"),
        ("hidden_size", "64", "hidden_size must be .*, not '64'"),
        ("num_attention_heads", 0, "num_attention_heads must be"),
        ("num_hidden_layers", 10**9, "num_hidden_layers must be"),
        ("vocab_size", -1, "vocab_size must be"),
        ("max_position_embeddings", None, "max_position_embeddings must be .*, not None"),
        ("layer_norm_eps", -1, "layer_norm_eps must be"),
        ("hidden_act", "silu", "hidden_act 'silu' is not supported, expected one of: gelu, relu"),
        (
            "architectures",
            ["LlamaForCausalLM"],
            "architecture 'LlamaForCausalLM' is not supported, expected one of: Bert",
        ),
        ("architectures", [], "architecture None is not supported"),
        ("is_decoder", True, "only plain encoders"),
        ("position_embedding_type", "relative_key", "position_embedding_type 'relative_key' is not supported"),
        ("id2label", {"0": "a", "2": "b"}, "id2label must name the labels 0 to 1"),
        ("id2label", [], "id2label must be an object"),
    ],
)
def test_config_field(directory, field, value, message):
    edit_config(directory, lambda config: config.update({field: value}))
    refused(directory, message, "config.json")


def test_sizes_within_limits_that_the_file_does_not_have(directory):
    edit_config(directory, lambda config: config.update(vocab_size=2**24, hidden_size=65536, num_hidden_layers=1000))
    refused(directory, "missing|expected U8")


def test_newer_format_version(directory):
    edit_config(directory, lambda config: config["quantization_config"].update(format_version=2))
    refused(directory, "format_version 2 is newer than 1, the last that is known: upgrade bitbert", "config.json")


@pytest.mark.parametrize("version", [None, "1", 0, True, 1.5])
def test_malformed_format_version(directory, version):
    edit_config(directory, lambda config: config["quantization_config"].update(format_version=version))
    refused(directory, "format_version must be a whole number", "config.json")


def test_unknown_packing(directory):
    edit_config(
        directory, lambda config: config["quantization_config"]["spec"]["weights"]["linear"].update(packing="base7")
    )
    refused(directory, "linear: unknown packing 'base7', expected one of: bits, base3", "config.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q: q.update(quant_method="gptq"), "no quantization_config of quant_method 'bitbert'"),
        (lambda q: q.update(surprise=1), "unknown key 'surprise'"),
        (lambda q: q.pop("spec"), "spec must be an object"),
        (lambda q: q["spec"]["weights"]["linear"].update(bits=9), "linear: 9-bit weights are not supported"),
        (lambda q: q["spec"]["weights"]["linear"].update(bits=None), "query.weight stays float and cannot be packed"),
        (lambda q: q["spec"]["weights"]["linear"].update(group_bits=5, granularity="row"), "group_bits must be a list"),
        (lambda q: q["spec"]["weights"]["linear"].update(group_bits=[4], granularity="row"), "group_bits lists 1 row"),
        (lambda q: q["spec"].update(leftovers="bfloat16"), "unknown leftovers 'bfloat16'"),
        (lambda q: q["spec"].update(overrides=[{"tensors": "*", "bogus": 1}]), "unknown key 'bogus'"),
    ],
)
def test_quantization_config(directory, change, message):
    edit_config(directory, lambda config: change(config["quantization_config"]))
    refused(directory, message, "config.json")


def values(tree, path=()):
    """The path of every value in a JSON tree."""
    yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from values(value, (*path, key))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_value_in_the_config_or_header_is_read_or_refused(pristine, data):
    """Whatever JSON stands anywhere, the answer is a model or a `CheckpointError`, never another exception."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = shutil.copytree(pristine, Path(scratch) / "model")
        header, tensors = split(directory)
        tree = data.draw(st.sampled_from([json.loads((directory / "config.json").read_text()), header]))
        *path, last = data.draw(st.sampled_from(list(values(tree))[1:]))
        parent = functools.reduce(lambda node, key: node[key], path, tree)
        parent[last] = data.draw(JSON)
        if tree is header:
            join(directory, header, tensors)
        else:
            (directory / "config.json").write_text(json.dumps(tree))
        with contextlib.suppress(CheckpointError):
            read(directory)


def test_config_without_quantization(directory):
    edit_config(directory, lambda config: config.pop("quantization_config"))
    refused(directory, "not a packed model", "config.json")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1, "a": 1}', '{"a": Infinity}'])
def test_config_that_is_no_json_object(directory, text):
    (directory / "config.json").write_text(text)
    refused(directory, "the file (is not valid JSON|must be a JSON object)", "config.json")


def test_config_larger_than_any(directory):
    with (directory / "config.json").open("r+b") as file:
        file.truncate(2**30)
    refused(directory, "not a config", "config.json")


def test_codes_stay_packed_until_asked_for(directory):
    """A 4-bit model costs its 4 bits: what is held for a weight are views of the mapped file."""
    model = read(directory)
    for weight in model.weights.values():
        assert not weight.packed.flags.owndata
        assert weight.packed.nbytes == weight.shape[0] * weight.shape[1] // 2


def test_question_answering_has_two_labels(tmp_path):
    config = tiny_config("BertForQuestionAnswering", id2label={"0": "a", "1": "b", "2": "c"})
    with pytest.raises(CheckpointError, match="question answering needs 2 labels"):
        random_model(config=config)
