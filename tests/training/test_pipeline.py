"""`bitbert.quantize` from end to end on a tiny model: what is written and reported, and each mistake found early."""

import json
import os
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bitbert
from bitbert.checkpoint import atomic
from bitbert.errors import BitbertError, CheckpointError, DataError, ModelError, RecipeError, SpecError
from bitbert.recipes.schema import Stage, load_recipe
from bitbert.training import pipeline
from bitbert.training.evaluate import evaluate
from support import films

pytest.importorskip("bitbert._native", reason="the native engine is not built")
pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = ("epochs=1", "calibration.batches=2", "batch_size=16")
HOW = {"settings": QUICK, "progress": False}


@pytest.fixture(scope="module")
def made(tmp_path_factory, tuned, data):
    """A packed directory, alone in its place, and the report that came back."""
    output = tmp_path_factory.mktemp("made") / "films-w4a8"
    return output, bitbert.quantize(tuned, data, output, bits="w4a8", seed=11, **HOW)


# ---- what is written -------------------------------------------------------------------------------------------------


def test_the_directory_holds_what_the_format_says_and_nothing_else(made):
    output, _ = made
    assert {path.name for path in output.iterdir()} == {
        *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md", "report.json")
    }
    assert [path.name for path in output.parent.iterdir()] == [output.name]
    config = json.loads((output / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "bitbert"
    assert config["quantization_config"]["spec"]["weights"]["linear"]["bits"] == 4
    assert config["id2label"] == {"0": "negative", "1": "positive"}
    card = (output / "README.md").read_text()
    assert "films for train, packed by bitbert" in card
    assert "trained" not in re.findall(r"\| (\w+) \|", card)


def test_the_report_says_how_the_model_came_about(made, tuned):
    output, report = made
    assert report.pop("output") == str(output)
    assert json.loads((output / "report.json").read_text()) == report
    recipe = load_recipe("w4a8", QUICK)
    expected = {
        "model": str(tuned),
        "task": "train",
        "recipe": "w4a8",
        "bits": "w4a8",
        "seed": 11,
        "rows": 120,
        "max_length": 40,
        "calibration": recipe.calibration.model_dump(),
    }
    assert {key: report[key] for key in expected} == expected
    (stage,) = report["stages"]
    assert Stage(**stage["stage"]) == recipe.stages[0]
    assert stage["steps"] == 8
    assert stage["seconds"] > 0
    size = os.path.getsize(output / "model.safetensors")
    assert report["bytes"]["model.safetensors"] == size
    assert report["bytes"]["ratio"] == report["bytes"]["float32_parameters"] / size > 3
    assert set(report["machine"]) == {"cpu", "isa", "threads", "python", "versions"}
    assert set(report["machine"]["versions"]) == {"bitbert", "torch", "transformers", "numpy", "tokenizers"}


def test_scores_are_those_of_the_engine_beside_the_float_and_the_trained_model(made, tuned, data):
    output, report = made
    held_out = ["validation", "test"]
    assert list(report["splits"]) == held_out
    engine, float32 = evaluate(output, data, held_out), evaluate(tuned, data, held_out)
    for name, scores in report["splits"].items():
        assert scores["accuracy"] == engine[name]["accuracy"] == 100
        assert scores["texts"] == engine[name]["texts"] == len(data.split(name))
        assert scores["float32"]["accuracy"] == float32[name]["accuracy"]
        assert scores["trained"]["accuracy"] == 100
        assert scores["trained"]["agreement"] == 100


def test_the_directory_answers(made):
    model = bitbert.load(made[0])
    answers = model.predict(["the film is gripping", "the film is dull"])
    assert [answer.label for answer in answers] == ["positive", "negative"]


def test_nothing_is_said_without_progress(tmp_path, tuned, data, capfd):
    bitbert.quantize(tuned, data, tmp_path / "out", **HOW)
    assert capfd.readouterr() == ("", "")


def test_with_progress_a_bar_on_standard_error(tmp_path, tuned, data, capfd):
    bitbert.quantize(tuned, data, tmp_path / "out", bits="w4a8", settings=QUICK)
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "w4a8 w4a8" not in shown.err
    assert "w4a8" in shown.err
    assert "w4a8: 8 steps, about less than a minute on this machine" in shown.err
    assert "8/8 steps" in shown.err


# ---- defaults and kinds of tasks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "recipe", "bits"),
    [
        ({}, "w8a8", "w8a8"),
        ({"bits": "w2a8"}, "w2a8", "w2a8"),
        ({"bits": "w3a8"}, "w2a8", "w3a8"),
        ({"recipe": "kdlsq"}, "kdlsq", "w4a8"),
        ({"recipe": "kdlsq", "bits": "w8a8"}, "kdlsq", "w8a8"),
        ({"recipe": "kdlsq", "settings": (*QUICK, "bits=w3a8")}, "kdlsq", "w3a8"),
    ],
)
def test_the_recipe_goes_by_the_width_and_the_width_by_the_recipe(tmp_path, tuned, data, arguments, recipe, bits):
    report = bitbert.quantize(tuned, data, tmp_path / "out", **HOW | arguments)
    assert (report["recipe"], report["bits"]) == (recipe, bits)
    assert bitbert.load(tmp_path / "out").spec == load_recipe(recipe).spec(bits)


def test_a_task_of_pairs_by_name(tmp_path, classifier):
    write_task(tmp_path / "mrpc", lambda first, second: int("good" in first))
    films.save_model(tmp_path / "model", id2label={0: "not_equivalent", 1: "equivalent"})
    report = bitbert.quantize(tmp_path / "model", "mrpc", tmp_path / "out", data_dir=tmp_path, **HOW)
    scores = report["splits"]["validation"]
    assert set(scores) == {"accuracy", "f1", "mean", "texts", "ms_per_text", "trained", "float32"}
    assert scores["trained"]["agreement"] == 100  # the second text has token type 1 on both sides


@pytest.mark.parametrize("setting", ["copies=2", "recombined=2"])
def test_texts_may_be_added(tmp_path, setting, monkeypatch):
    monkeypatch.setenv("BITBERT_CACHE_DIR", str(tmp_path / "cache"))
    write_task(tmp_path / "mrpc", lambda first, second: int("good" in first))
    films.save_model(tmp_path / "model", id2label={0: "not_equivalent", 1: "equivalent"})
    how = HOW | {"settings": (*QUICK, "losses.labels=0", "losses.logits=1", "batch_size=10", "epochs=1", setting)}
    report = bitbert.quantize(tmp_path / "model", "mrpc", tmp_path / "out", data_dir=tmp_path, **how)
    assert report["rows"] == 200
    assert 35 < report["stages"][0]["steps"] <= 60


def test_a_regression(tmp_path):
    write_task(tmp_path / "stsb", lambda first, second: float(first.count("good") + second.count("good")))
    how = HOW | {"recipe": "q8bert", "settings": (*QUICK, "epochs=8", "learning_rate=5e-3")}
    films.save_model(tmp_path / "model", num_labels=1, id2label={0: "score"}, problem_type="regression")
    report = bitbert.quantize(tmp_path / "model", "stsb", tmp_path / "out", bits="w8a8", data_dir=tmp_path, **how)
    scores = report["splits"]["validation"]
    assert set(scores) == {"pearson", "spearman", "mean", "texts", "ms_per_text", "trained", "float32"}
    assert "agreement" not in scores["trained"]
    assert scores["mean"] > 70
    assert scores["mean"] == pytest.approx(scores["trained"]["mean"], abs=0.5)
    assert bitbert.load(tmp_path / "out").predict([("a film", "a good film")])[0].value is not None


def write_task(directory, label):
    """A GLUE task of 200 pairs of texts, as Parquet files; `label` is a function of the two texts."""
    directory.mkdir()
    words = np.random.default_rng(0).choice(["film", "good", "bad", "gripping", "dull"], (2, 200, 3))
    first, second = ([" ".join(text) for text in texts] for texts in words)
    columns = {
        "sentence1": first,
        "sentence2": second,
        "label": [label(*pair) for pair in zip(first, second, strict=True)],
    }
    for split in ("train", "validation"):
        pq.write_table(pa.table(columns), directory / f"{split}.parquet")


# ---- mistakes --------------------------------------------------------------------------------------------------------


@pytest.fixture
def fails(monkeypatch, tmp_path, tuned, data):
    """Calls `quantize`, which must fail before it trains, in one line, and leave nothing behind."""
    monkeypatch.setattr(pipeline, "Progression", None)
    monkeypatch.chdir(tmp_path)

    def fails(kind, **changes):
        before = sorted(tmp_path.rglob("*"))
        arguments = {"model": tuned, "task": data, "output": tmp_path / "out", **HOW}
        with pytest.raises(BitbertError) as error:
            bitbert.quantize(**arguments | changes)
        assert type(error.value) is kind
        assert "\n" not in str(error.value)
        assert sorted(tmp_path.rglob("*")) == before
        return str(error.value)

    return fails


@pytest.mark.parametrize(
    ("changes", "kind", "reason"),
    [
        ({"model": "gone"}, ModelError, "no model directory 'gone'"),
        ({"task": "sst9"}, DataError, "there is no task 'sst9'"),
        ({"task": "sst2"}, DataError, "task sst2: no data; give --data-dir"),
        ({"recipe": "gone"}, RecipeError, "no recipe 'gone'"),
        ({"settings": ["epochs=many"]}, RecipeError, "stages.0.epochs"),
        ({"bits": "w9a8"}, SpecError, "w9a8: 9-bit weights are not supported, expected 1 to 8"),
        ({"bits": "w4a9"}, SpecError, "9-bit activations are not supported"),
        ({"recipe": "kdlsq", "bits": "w1a8"}, SpecError, "linear: method 'learned_range' gives 2 to 8 bits, not 1"),
        (
            {"settings": ["activations.value.bits=null"]},
            SpecError,
            "encoder.layer.0.attention.self.value.output stays float and cannot be packed",
        ),
        (
            {"settings": ["weights.pooler.bits=null"]},
            SpecError,
            "pooler.dense.weight stays float and cannot be packed: give it 0 to 8 bits",
        ),
        (
            {"settings": ["overrides=[{tensors: '*.output.dense.weight', group_bits: [4], granularity: row}]"]},
            SpecError,
            "encoder.layer.0.attention.output.dense.weight: group_bits has 1 entries, expected 2",
        ),
        (
            {"settings": ["overrides=[{tensors: 'bert.encoder.*', bits: 8}]"]},
            SpecError,
            "override 'bert.encoder.*' names no tensor; names look like encoder.layer.0.attention.self.query.weight or",
        ),
        (
            {"settings": ["overrides=[{tensors: '*.output.dense.weight', bits: 1}]"]},
            SpecError,
            "encoder.layer.0.attention.output.dense.weight: method 'learned_range' gives 2 to 8 bits, not 1",
        ),
    ],
)
def test_what_cannot_be_done(fails, changes, kind, reason):
    assert reason in fails(kind, **changes)


def test_a_model_that_does_not_fit(fails, encoder, tmp_path):
    assert "no classification head: fine-tune it first" in fails(ModelError, model=encoder)
    films.save_model(tmp_path / "three", id2label={0: "a", 1: "b", 2: "c"})
    assert "has 3 outputs, but train needs 2" in fails(ModelError, model=tmp_path / "three")


def test_an_output_in_the_way(fails, tmp_path, tuned, made):
    (tmp_path / "out").mkdir()
    assert "out exists" in fails(CheckpointError)
    (tmp_path / "out" / "config.json").write_text("{}")
    assert "is not a bitbert directory and is not overwritten" in fails(CheckpointError, overwrite=True)
    assert "is not a bitbert directory" in fails(CheckpointError, overwrite=True, output=tuned)


def test_a_packed_directory_is_replaced_where_that_is_asked_for(tmp_path, tuned, data):
    for bits in ("w8a8", "w2a8"):
        bitbert.quantize(tuned, data, tmp_path / "out", bits=bits, overwrite=True, **HOW)
    assert bitbert.load(tmp_path / "out").spec.weights["linear"].bits == 2
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_disk_that_is_full_in_the_end_costs_no_training(tmp_path, tuned, data, monkeypatch):
    def full(directory, target, replace):
        if target.name == "out":
            raise OSError(28, "No space left on device")
        directory.rename(target)

    monkeypatch.setattr(atomic, "_move", full)
    with pytest.raises(CheckpointError, match="out cannot be written: No space left on device"):
        bitbert.quantize(tuned, data, tmp_path / "out", **HOW)
    assert [path.name for path in tmp_path.iterdir()] == ["out.work"]
    monkeypatch.undo()
    monkeypatch.setattr("transformers.Trainer.training_step", None)
    bitbert.quantize(tuned, data, tmp_path / "out", resume=True, **HOW)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_tensorboard_files_stay_beside_the_output(tmp_path, tuned, data):
    bitbert.quantize(tuned, data, tmp_path / "out", report_to="tensorboard", **HOW)
    (events,) = (tmp_path / "out.runs" / "stage-0").iterdir()
    assert events.name.startswith("events.out.tfevents")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.runs"]
