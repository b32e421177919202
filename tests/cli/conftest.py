"""What the tests of the command line run on: tiny random models, and a table of texts that a tiny model can learn."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from bitbert.checkpoint import write
from bitbert.cli.__main__ import app
from support.random_model import random_model, tiny_config
from support.tiny_tokenizer import tiny_tokenizer

LABELS = {"id2label": {"0": "negative", "1": "positive"}}


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Calls a command in an empty directory; the result has exit_code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments, **options):
        return CliRunner().invoke(app, [str(a) for a in arguments], prog_name="bitbert", **options)

    return call


@pytest.fixture
def fails(run, tmp_path):
    """Calls a command that must end with one line of error, exit code 2, nothing on stdout and no new file."""

    def call(*arguments, **options):
        before = sorted(tmp_path.rglob("*"))
        result = run(*arguments, **options)
        assert result.exit_code == 2, result.output
        assert result.stdout == ""
        lines = result.stderr.splitlines()
        assert len(lines) == 1, result.stderr
        assert lines[0].startswith("error: ")
        assert sorted(tmp_path.rglob("*")) == before
        return lines[0].removeprefix("error: ")

    return call


@pytest.fixture
def pack(tmp_path):
    """Writes a random packed model; `changes` are of its config."""

    def make(name="packed", report=None, spec=None, **changes):
        files = {"tokenizer.json": tiny_tokenizer()}
        config = tiny_config(**({**LABELS} | changes))
        return write(random_model(spec, config), tmp_path / name, files=files, report=report or {})

    return make


@pytest.fixture(scope="session")
def reviews(tmp_path_factory) -> Path:
    """120 labelled texts as CSV."""
    words = {"positive": ("good", "gripping"), "negative": ("bad", "dull")}
    rows = [(f"the film is {w} {'!' * (i % 5)}", label) for i in range(30) for label, ws in words.items() for w in ws]
    path = tmp_path_factory.mktemp("reviews") / "reviews.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return path
