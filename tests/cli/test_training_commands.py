"""`finetune`, `quantize` and `evaluate` on a tiny model: from a CSV file to answers, and every mistake in one line."""

import json

import pytest
from typer.testing import CliRunner

from bitbert.cli.__main__ import app
from bitbert.cli.options import Head, read_head

pytest.importorskip("bitbert._native", reason="the native engine is not built")

QUICK = ("--set", "epochs=1", "--set", "calibration.batches=2")


@pytest.fixture(scope="module")
def tuned(encoder, reviews, tmp_path_factory, one_thread):
    """A tiny model that has learned `reviews`."""
    output = tmp_path_factory.mktemp("tuned") / "float"
    how = ("--epochs", "8", "--learning-rate", "3e-3", "--batch-size", "16")
    command = ["finetune", str(encoder), "--train-file", str(reviews), "-o", str(output), *how]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "validation: accuracy 100.00 on 12 texts" in result.stderr
    return output


def test_from_csv_to_answers(run, tuned, reviews):
    data = ("--train-file", reviews)
    made = run("quantize", tuned, *data, "--bits", "w8a8", *QUICK, "-o", "packed", "--json")
    assert made.exit_code == 0, made.output
    report = json.loads(made.stdout)
    assert report["splits"]["validation"]["float32"]["accuracy"] == 100
    scores = json.loads(run("evaluate", "packed", *data, "--json").stdout)["validation"]
    assert scores["accuracy"] == report["splits"]["validation"]["accuracy"] == 100
    assert scores["texts"] == 12
    answer = json.loads(run("predict", "packed", "the film is gripping", "--json").stdout)
    assert answer["label"] == "positive"


def test_from_texts_without_labels_to_answers(run, tuned, reviews, tmp_path):
    lines = [line.rsplit(",", 1)[0] for line in reviews.read_text().splitlines()[1:]]
    (tmp_path / "texts.txt").write_text("\n".join(lines))
    quick = ("--set", "reconstruction.steps=5")
    made = run("quantize", tuned, "--calibrate-only", "--texts", "texts.txt", *quick, "-o", "packed")
    assert made.exit_code == 0, made.output
    assert made.stdout == ""
    assert "packed is written" in made.stderr
    answer = json.loads(run("predict", "packed", "the film is gripping", "--json").stdout)
    assert answer["label"] == "positive"
    scored = run(
        "quantize",
        tuned,
        "--calibrate-only",
        "--train-file",
        reviews,
        *quick,
        "--bits",
        "w4a8",
        "-o",
        "other",
        "--json",
    )
    report = json.loads(scored.stdout)
    assert (report["recipe"], report["bits"], report["calibrated_on"]) == ("ptq", "w4a8", 108)
    assert report["splits"]["validation"]["accuracy"] == 100


def test_evaluate_takes_float_checkpoints_and_shows_a_table(run, tuned, reviews):
    result = run("evaluate", tuned, "--test-file", reviews, "--split", "test")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines() if line.strip()]
    assert lines[0] == ["split", "accuracy", "texts", "ms_per_text"]
    assert lines[-1][:3] == ["test", "100", "120"]


def test_evaluate_numbers_labels_as_the_model_does(run, tuned, tmp_path):
    only = tmp_path / "only.csv"
    only.write_text("text,label\nthe film is good,positive\nthe film is gripping,positive\n")
    result = run("evaluate", tuned, "--test-file", only, "--split", "test", "--json")
    assert json.loads(result.stdout)["test"]["accuracy"] == 100


# ---- wrong input -----------------------------------------------------------------------------------------------------


def test_finetune_without_a_model(fails, reviews):
    assert "nowhere" in fails("finetune", "nowhere", "--train-file", reviews, "-o", "out")


def test_finetune_without_data(fails, encoder):
    assert "no data" in fails("finetune", encoder, "-o", "out")
    assert "no task 'sst9'" in fails("finetune", encoder, "--task", "sst9", "-o", "out")
    assert "gone.csv: no such file" in fails("finetune", encoder, "--train-file", "gone.csv", "-o", "out")


@pytest.mark.parametrize(
    ("rows", "options", "reason"),
    [
        ("a,x\nb,y\n", ["--label-column", "class"], "no column 'class'; there are 'text', 'label'"),
        ("a,x\nb,\n", [], "row 2 has an empty label"),
        ("a,x\nb,x\n", [], "every row has the label 'x'"),
        ("a,1.5\nb,high\n", ["--regression"], "row 2: the label 'high' is not a number"),
    ],
)
def test_data_that_cannot_be_learned(fails, encoder, tmp_path, rows, options, reason):
    (tmp_path / "t.csv").write_text("text,label\n" + rows)
    assert reason in fails("finetune", encoder, "--train-file", tmp_path / "t.csv", "-o", "out", *options)


def test_a_label_that_train_does_not_have(fails, encoder, reviews, tmp_path):
    (tmp_path / "v.csv").write_text("text,label\na,mixed\n")
    files = ("--train-file", reviews, "--validation-file", tmp_path / "v.csv")
    assert "v.csv: row 1: unknown label 'mixed'" in fails("finetune", encoder, *files, "-o", "out")


def test_an_output_that_exists(fails, encoder, reviews, tmp_path):
    (tmp_path / "out").mkdir()
    assert "--overwrite" in fails("finetune", encoder, "--train-file", reviews, "-o", "out")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--bits", "w9a8"], "9-bit weights are not supported"),
        (["--bits", "tiny"], "expected wXaY"),
        (["--recipe", "gone.yaml"], "no recipe 'gone.yaml'"),
        (["--set", "eppochs=1"], "unknown key 'eppochs'"),
        (["--set", "epochs=many"], "epochs"),
    ],
)
def test_a_recipe_that_cannot_be(fails, classifier, reviews, options, reason):
    assert reason in fails("quantize", classifier, "--train-file", reviews, "-o", "out", *options)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--calibrate-only"], "nothing to calibrate on: give texts (--texts FILE), a task"),
        (["--calibrate-only", "--texts", "gone.txt"], "gone.txt: no such file"),
        (["--calibrate-only", "--texts", "gone.txt", "--resume"], "--resume does not go with --calibrate-only"),
        (["--calibrate-only", "--texts", "gone.txt", "--tensorboard"], "--tensorboard does not go with --calibrate"),
        (["--texts", "gone.txt"], "--texts goes with --calibrate-only; training needs labels"),
    ],
)
def test_calibration_that_cannot_be(fails, classifier, options, reason):
    assert reason in fails("quantize", classifier, *options, "-o", "out")


def test_a_model_that_was_tuned_for_other_labels(fails, classifier, tmp_path):
    (tmp_path / "t.csv").write_text("text,label\na,world\nb,sports\n" * 10)
    problem = fails("quantize", classifier, "--train-file", tmp_path / "t.csv", "-o", "out")
    assert "unknown label 'world'; the model has negative, positive" in problem


def test_evaluate_on_a_split_that_is_not_there(fails, classifier, reviews):
    assert "no split 'dev'; there are train, validation" in fails(
        "evaluate", classifier, "--train-file", reviews, "--split", "dev"
    )


def test_evaluate_a_packed_model_that_is_damaged(fails, pack, reviews):
    weights = pack() / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert "model.safetensors" in fails("evaluate", weights.parent, "--test-file", reviews, "--split", "test")


@pytest.mark.parametrize("names", [["negative", "positive"], {"zero": "negative"}, 3])
def test_labels_of_a_config_that_make_no_sense_are_left_to_the_reader(classifier, tmp_path, names):
    config = json.loads((classifier / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"id2label": names}))
    assert read_head(str(classifier)) == Head({"negative": 0, "positive": 1}, regression=False)
    assert read_head(str(tmp_path)) is None
