"""`bitbert.load`: texts in, answers out, in order, and the same whatever stands beside them."""

import numpy as np
import pytest

import bitbert
from bitbert.checkpoint import write
from bitbert.errors import BitbertError, CheckpointError, ModelError
from bitbert.runtime.reference import Reference
from support.random_model import random_model, tiny_config
from support.tiny_tokenizer import tiny_tokenizer

pytest.importorskip("bitbert._native", reason="the native engine is not built")

TEXTS = ["a good film", "", "the film is not dull !", "bad", "gripping " * 9, "a film is a film"]
LABELS = {"id2label": {"0": "negative", "1": "positive"}}


@pytest.fixture
def save(tmp_path):
    def write_model(architecture="BertForSequenceClassification", **changes):
        model = random_model(config=tiny_config(architecture, **changes))
        return write(model, tmp_path / "model", files={"tokenizer.json": tiny_tokenizer()}), model

    return write_model


def test_predictions_are_those_of_the_reference(save):
    directory, packed = save(**LABELS)
    model = bitbert.load(directory)
    ids, types = model.tokenizer.encode(TEXTS)
    reference = Reference(packed)
    logits = np.stack([reference.run(i, t).logits for i, t in zip(ids, types, strict=True)])
    np.testing.assert_array_equal(model.logits(TEXTS), logits)
    for prediction, row in zip(model.predict(TEXTS), logits.astype(np.float64), strict=True):
        expected = np.exp(row) / np.exp(row).sum()
        assert list(prediction.scores) == ["negative", "positive"]
        np.testing.assert_allclose(list(prediction.scores.values()), expected, rtol=1e-6)
        assert prediction.label == ["negative", "positive"][row.argmax()]
        assert prediction.score == max(prediction.scores.values())
        assert prediction.value is None


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_answers_do_not_depend_on_the_batch(save, batch_size):
    model = bitbert.load(save()[0], threads=2)
    expected = np.concatenate([model.logits([text]) for text in TEXTS])
    np.testing.assert_array_equal(model.logits(TEXTS, batch_size=batch_size), expected)
    np.testing.assert_array_equal(model.logits(TEXTS[::-1], batch_size=batch_size), expected[::-1])
    for pooling in ("mean", "cls"):
        alone = np.concatenate([model.encode([text], pooling=pooling, normalize=True) for text in TEXTS])
        together = model.encode(TEXTS, pooling=pooling, normalize=True, batch_size=batch_size)
        np.testing.assert_array_equal(together, alone)


def test_pairs_differ_from_single_texts(save):
    model = bitbert.load(save()[0])
    pairs = model.logits([("a good film", "bad"), ("bad", "a good film")])
    assert len(np.unique(pairs, axis=0)) == 2


def test_a_regression_answers_with_its_value(save):
    model = bitbert.load(save(id2label={"0": "score"})[0])
    answers = model.predict(TEXTS)
    assert [answer.value for answer in answers] == model.logits(TEXTS)[:, 0].tolist()
    assert {answer.label for answer in answers} == {None}


def test_one_label_can_be_a_class(save):
    model = bitbert.load(save(id2label={"0": "only"}, problem_type="single_label_classification")[0])
    assert [answer.label for answer in model.predict(["a"])] == ["only"]


def test_labels_without_names(save):
    assert bitbert.load(save()[0]).labels == ["LABEL_0", "LABEL_1"]


@pytest.mark.parametrize("architecture", ["BertModel", "BertForTokenClassification"])
def test_embeddings_are_those_of_the_reference(save, architecture):
    directory, packed = save(architecture)
    model = bitbert.load(directory)
    ids, types = model.tokenizer.encode(TEXTS)
    outputs = [Reference(packed).run(i, t) for i, t in zip(ids, types, strict=True)]
    np.testing.assert_array_equal(model.encode(TEXTS), [output.mean for output in outputs])
    np.testing.assert_array_equal(model.encode(TEXTS, pooling="cls"), [output.hidden[0] for output in outputs])
    lengths = np.linalg.norm(model.encode(TEXTS, normalize=True), axis=1)
    np.testing.assert_allclose(lengths, 1, rtol=1e-6)
    with pytest.raises(ModelError, match=f"{architecture} does not classify texts"):
        model.predict(TEXTS)


def test_no_texts_give_no_answers(save):
    model = bitbert.load(save()[0])
    assert model.predict([]) == []
    assert model.logits([]).shape == (0, 2)
    assert model.encode([]).shape == (0, 64)


def test_unknown_pooling(save):
    with pytest.raises(ModelError, match="unknown pooling 'max', expected one of: mean, cls"):
        bitbert.load(save()[0]).encode(["a"], pooling="max")


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_has_texts(save, batch_size):
    with pytest.raises(ModelError, match=f"batch_size must be 1 or more, not {batch_size}"):
        bitbert.load(save()[0]).logits(["a"], batch_size=batch_size)


def test_load_says_what_is_wrong(save, tmp_path):
    with pytest.raises(CheckpointError, match="nowhere is not a directory"):
        bitbert.load(tmp_path / "nowhere")
    directory, _ = save()
    with pytest.raises(BitbertError, match="max_length 41 is not possible"):
        bitbert.load(directory, max_length=41)
    with pytest.raises(BitbertError, match="threads must be 1 or more, not 0"):
        bitbert.load(directory, threads=0)
    with pytest.raises(BitbertError, match="instruction set 'x' cannot run"):
        bitbert.load(directory, isa="x")
    (directory / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is missing"):
        bitbert.load(directory)
