"""Scores: the same question put to a packed directory and to a float checkpoint."""

import numpy as np
import pytest
import torch
from datasets import Dataset

import bitbert
from bitbert.checkpoint import write
from bitbert.errors import CheckpointError, DataError, ModelError
from bitbert.runtime.tokenizer import TruncationWarning
from bitbert.training.data import TaskData
from bitbert.training.evaluate import agreement, evaluate, is_packed, torch_run
from bitbert.training.models import load_finetuned
from bitbert.training.tasks import GLUE
from support import films
from support.random_model import random_model, tiny_config
from support.tiny_tokenizer import tiny_tokenizer

pytest.importorskip("bitbert._native", reason="the native engine is not built")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def packed(tmp_path):
    return write(random_model(), tmp_path / "packed", files={"tokenizer.json": tiny_tokenizer()})


def test_a_packed_directory_is_scored_by_what_it_answers(packed, data):
    scores = evaluate(packed, data, ["validation", "test"])
    assert list(scores) == ["validation", "test"]
    for name, found in scores.items():
        split = data.split(name)
        labels = bitbert.load(packed).logits(split["text"][:]).argmax(axis=1)
        assert found["accuracy"] == pytest.approx(100 * np.mean(labels == split["label"][:]))
        assert found["texts"] == len(split)
        assert found["ms_per_text"] > 0


def test_a_float_checkpoint_is_scored_by_what_it_answers(classifier, data, tokenizer):
    split = data.split("test")
    model = load_finetuned(classifier, data.task)
    with torch.inference_mode():
        alone = [model(**tokenizer(text, return_tensors="pt")).logits[0].numpy() for text in split["text"]]
    batched = torch_run(model, tokenizer, data.task, batch_size=5)(split)
    np.testing.assert_allclose(batched, alone, atol=1e-6)  # order kept, padding without effect
    expected = 100 * np.mean(np.argmax(alone, axis=1) == split["label"][:])
    assert evaluate(classifier, data, ["test"])["test"]["accuracy"] == pytest.approx(expected)


def test_texts_are_cut_where_asked(packed, classifier, data, tokenizer):
    long, short = "the film is good " * 8, "the film is good the film"  # six words and two marks are eight tokens
    splits = {name: Dataset.from_dict({"text": [text], "label": [0]}) for name, text in (("a", long), ("b", short))}
    run = torch_run(load_finetuned(classifier, data.task), tokenizer, data.task, max_length=8)
    np.testing.assert_array_equal(run(splits["a"]), run(splits["b"]))
    with pytest.warns(TruncationWarning, match="longer than 8 tokens"):
        scores = evaluate(packed, TaskData(data.task, splits), ["a", "b"], max_length=8)
    assert scores["a"]["accuracy"] == scores["b"]["accuracy"]


def test_a_regression_and_pairs(tmp_path, classifier):
    films.save_model(tmp_path / "float", num_labels=1, id2label={0: "score"}, problem_type="regression")
    config = tiny_config(id2label={"0": "score"}, label2id={"score": 0}, problem_type="regression")
    write(random_model(config=config), tmp_path / "packed", files={"tokenizer.json": tiny_tokenizer()})
    pairs = {"text": ["a film", "a good film", "a dull film"], "text_pair": ["a film", "dull", "bad"]}
    data = TaskData(GLUE["stsb"], {"validation": Dataset.from_dict({**pairs, "label": [5.0, 1.0, 2.5]})})
    for model in ("float", "packed"):
        scores = evaluate(tmp_path / model, data)["validation"]
        assert scores["mean"] == pytest.approx((scores["pearson"] + scores["spearman"]) / 2)
    with pytest.raises(ModelError, match="has 2 outputs, but stsb needs 1"):
        evaluate(classifier, data)


def test_agreement_counts_labels():
    one = np.float32([[1, 0], [0, 1], [2, 1], [0, 9]])
    assert agreement(one, 3 * one + 1) == 100
    assert agreement(one, one[:, ::-1]) == 0
    assert agreement(one, np.float32([[1, 0], [0, 1], [1, 2], [0, 9]])) == 75


def test_what_cannot_be_evaluated(tmp_path, packed, data):
    with pytest.raises(DataError, match="no split 'dev'; there are train, validation, test"):
        evaluate(packed, data, ["dev"])
    with pytest.raises(ModelError, match="no model directory"):
        evaluate(tmp_path / "gone", data)
    weights = packed / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        evaluate(packed, data)


def test_which_directories_are_packed(tmp_path, packed, classifier):
    assert is_packed(packed)
    assert not is_packed(classifier)
    assert not is_packed(tmp_path / "gone")
    (tmp_path / "config.json").write_text("[]")
    assert not is_packed(tmp_path)
