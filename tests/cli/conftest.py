"""What the tests of the command line run on: tiny random models, and a table of texts that a tiny model can learn."""

import json
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


@pytest.fixture(scope="module")
def one_thread():
    """Tiny models train faster on one thread than on several that wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def encoder(tmp_path_factory) -> Path:
    """A random BERT of one layer in Hugging Face's own format."""
    from transformers import BertModel

    return save(BertModel, tmp_path_factory.mktemp("encoder") / "tiny")


@pytest.fixture(scope="session")
def classifier(tmp_path_factory) -> Path:
    """A random classifier with the labels of `reviews`, as if it had been fine-tuned."""
    from transformers import BertForSequenceClassification

    path = tmp_path_factory.mktemp("classifier") / "tiny"
    return save(BertForSequenceClassification, path, id2label={0: "negative", 1: "positive"})


def save(kind, path, **config):
    import torch
    from transformers import BertConfig, PreTrainedTokenizerFast

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    kind(BertConfig(vocab_size=101, max_position_embeddings=40, **sizes, **config)).save_pretrained(path)
    (path / "source.json").write_bytes(tiny_tokenizer())
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_file=str(path / "source.json"), **special).save_pretrained(path)
    (path / "source.json").unlink()
    return path


@pytest.fixture(scope="session")
def reviews(tmp_path_factory) -> Path:
    """120 labelled texts as CSV."""
    words = {"positive": ("good", "gripping"), "negative": ("bad", "dull")}
    rows = [(f"the film is {w} {'!' * (i % 5)}", label) for i in range(30) for label, ws in words.items() for w in ws]
    path = tmp_path_factory.mktemp("reviews") / "reviews.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return path


def jsonl(text):
    return [json.loads(line) for line in text.splitlines()]
