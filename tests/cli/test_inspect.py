"""`bitbert inspect`: sizes are those of the files, and every kind of tensor is listed with its own bits."""

import json
import os

import pytest

from bitbert.spec import Override, QuantSpec

REPORT = {
    "task": "sst2",
    "recipe": "kdlsq",
    "seed": 7,
    "splits": {"validation": {"accuracy": 89.0, "texts": 872, "ms_per_text": 1.5, "float32": {"accuracy": 90.25}}},
}


def inspect(run, directory):
    result = run("inspect", directory, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_bytes_are_those_on_disk(run, pack):
    directory = pack(spec=QuantSpec.uniform(4, 8))
    found = inspect(run, directory)
    assert found["bytes"] == os.path.getsize(directory / "model.safetensors")
    assert found["directory_bytes"] == sum(os.path.getsize(file) for file in directory.iterdir())
    assert found["compression"] == pytest.approx(4 * found["parameters"] / found["bytes"])
    packed = sum(row["bytes"] for row in found["weights"].values())
    assert packed + 2 * found["float"]["parameters"] < found["bytes"]  # the rest: header, activation scales


def test_parameters_are_those_of_the_float_model(run, pack):
    hidden, layers, inner, vocab, positions, types, labels = 64, 2, 96, 101, 40, 2, 2
    embeddings = (vocab + positions + types) * hidden + 2 * hidden
    layer = 4 * (hidden + 1) * hidden + (hidden + 1) * inner + (inner + 1) * hidden + 4 * hidden
    head = (hidden + 1) * (hidden + labels)
    assert inspect(run, pack())["parameters"] == embeddings + layers * layer + head


def test_bits_by_kind_of_tensor(run, pack):
    override = Override("encoder.layer.1.output.dense.weight", {"bits": 8})
    spec = QuantSpec.uniform(2, 8, weights={"all": {"packing": "bits"}}, overrides=[override])
    found = inspect(run, pack(spec=spec))
    assert found["weights"]["linear"]["bits"] == [2, 8]
    assert found["weights"]["linear"]["tensors"] == 12
    assert found["weights"]["word_embedding"]["bits"] == [2]
    assert found["activations"]["key"] == {"tensors": 2, "bits": ["8"], "scale": ["static"], "symmetric": ["true"]}
    assert found["spec"] == spec.to_json()


def test_the_table_names_sizes_and_scores(run, pack):
    directory = pack(report=REPORT, spec=QuantSpec.uniform(4, 8))
    text = run("inspect", directory).stdout
    for expected in ("BertForSequenceClassification", "x smaller than float32", "word_embedding", "mid_tread", "kdlsq"):
        assert expected in text
    (scores,) = [line.split() for line in text.splitlines() if line.split()[:2] == ["validation", "accuracy"]]
    assert scores[2:] == ["89.00", "90.25"]


def test_a_model_without_scores_says_so(run, pack):
    assert "No scores were recorded" in run("inspect", pack()).stdout


def test_a_float_checkpoint_is_not_a_packed_one(fails, encoder):
    assert "not a packed model" in fails("inspect", encoder)


def test_no_such_directory(fails):
    assert "nowhere is not a directory" in fails("inspect", "nowhere")
