"""Setups: what is compared has one shape and one name each; a peer has the packed model's shape and weights."""

import json

import pytest

from bitbert.bench.contenders import ENGINE, PEERS, Setup
from bitbert.bench.setups import check_comparable, check_floats, packed, parse_peers, peer, sizes
from bitbert.errors import CheckpointError, ModelError
from bitbert.spec import QuantSpec
from support.random_model import tiny_config, write_random


def test_a_packed_directory(tmp_path):
    directory = write_random(tmp_path / "mine")
    setup = packed(directory, 3, isa="scalar")
    assert (setup.name, setup.contender, setup.threads, setup.isa) == ("mine", ENGINE, 3, "scalar")
    assert setup.directory == str(directory)
    assert QuantSpec.from_json(setup.spec) == QuantSpec()
    assert "quantization_config" not in setup.config


def test_a_damaged_directory_is_found_at_once(tmp_path):
    directory = write_random(tmp_path / "packed")
    (directory / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="is empty"):
        packed(directory, 1)


def test_a_peer_is_like_the_packed_model(tmp_path):
    ours = packed(write_random(tmp_path / "packed"), 2, floats=tmp_path / "float")
    theirs = peer("openvino", ours, environment={"A": "1"})
    assert (theirs.name, theirs.contender, theirs.threads) == ("OpenVINO int8", "openvino", 2)
    assert (theirs.config, theirs.floats, theirs.environment) == (ours.config, str(tmp_path / "float"), {"A": "1"})
    assert theirs.directory is None


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("all", PEERS),
        ("none", ()),
        ("openvino, torch-fp32", ("openvino", "torch-fp32")),
        ("openvino,openvino", ("openvino",)),
    ],
)
def test_peers_by_name(text, names):
    assert parse_peers(text) == names


@pytest.mark.parametrize("text", ["tensorrt", "", "all,openvino", "bitbert"])
def test_an_unknown_peer_lists_those_there_are(text):
    with pytest.raises(ModelError, match=r"unknown peer .* expected all, none, or some of: torch-fp32, torch-bf16"):
        parse_peers(text)


def setup(name, **changes):
    return Setup(name, ENGINE, tiny_config(**changes), 1)


def test_models_of_one_shape_are_comparable():
    check_comparable([setup("a"), setup("b", id2label={"0": "x"})])


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (setup("b", num_hidden_layers=3), "b has num_hidden_layers 3, but a has 2: compare models of one shape"),
        (setup("a"), "more than one directory is called a"),
    ],
)
def test_what_is_not_comparable(other, reason):
    with pytest.raises(ModelError, match=reason):
        check_comparable([setup("a"), other])


def test_a_float_checkpoint_must_have_the_sizes(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(tiny_config()))
    check_floats(tmp_path, setup("a"))
    with pytest.raises(ModelError, match="has vocab_size 101, but a has 7"):
        check_floats(tmp_path, setup("a", vocab_size=7))


def test_what_is_no_float_checkpoint(tmp_path):
    with pytest.raises(ModelError, match=r"gone is no float checkpoint: config\.json cannot be read"):
        check_floats(tmp_path / "gone", setup("a"))
    with pytest.raises(ModelError, match="packed is not a float checkpoint"):
        check_floats(write_random(tmp_path / "packed"), setup("a"))


def test_sizes_are_those_that_matter():
    assert "id2label" not in sizes(tiny_config())
    assert sizes(tiny_config())["hidden_size"] == 64
