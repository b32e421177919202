"""Tags: a label for every word however long the text, and entities as CoNLL's evaluation reads them."""

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

import bitbert
from bitbert.checkpoint import write
from bitbert.errors import DataError, ModelError
from bitbert.runtime.tags import entity_spans, tags
from bitbert.runtime.windows import Windows
from support.random_model import random_model, tiny_config
from support.tiny_tokenizer import tiny_tokenizer

pytest.importorskip("bitbert._native", reason="the native engine is not built")

LABELS = ["O", "B-film", "I-film", "B-mood", "I-mood"]
BACKEND = tokenizers.Tokenizer.from_str(tiny_tokenizer().decode())
WORDS = ["the", "films", "are", "gripping", "\u200d", "good", "xyz", "!"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    config = tiny_config("BertForTokenClassification", id2label={str(i): name for i, name in enumerate(LABELS)})
    path = write(
        random_model(config=config), tmp_path_factory.mktemp("tags") / "m", files={"tokenizer.json": tiny_tokenizer()}
    )
    return bitbert.load(path, threads=1)


@given(st.lists(st.sampled_from(["O", "B-a", "I-a", "B-b", "I-b", "B-c-d", "I-c-d"])))
def test_entities_are_those_of_seqeval(labels):
    expected = [(kind, first, last + 1) for kind, first, last in get_entities(labels)]
    assert entity_spans(labels) == expected


def test_labels_are_those_of_each_words_first_token(model):
    ids, types = model.tokenizer.encode(["the films are gripping good xyz !"])
    logits = model.engine.forward(ids, types)
    first = [1, 2, 4, 7, None, 8, 9, 12]  # film ##s, a ##r ##e, x ##y ##z
    tagged = model.tag(WORDS)
    assert [word.text for word in tagged.words] == WORDS
    for word, token in zip(tagged.words, first, strict=True):
        if token is None:
            assert (word.label, word.score) == ("O", 1.0)
            continue
        row = logits[token].astype(np.float64)
        assert word.label == LABELS[row.argmax()]
        assert word.score == pytest.approx(np.exp(row.max()) / np.exp(row).sum())


def test_a_text_is_split_into_words_and_marks(model):
    text = "Don't miss @films, 'Good-Bad' (U.S.)  http://a.b/c !"
    words = model.tag(text).words
    expected = ["Don't", "miss", "@films", ",", "'", "Good-Bad", "'", "(", "U.S", ".", ")", "http://a.b/c", "!"]
    assert [word.text for word in words] == expected
    assert [text[word.start : word.end] for word in words] == expected


def test_entities_join_words():
    labels = iter([1, 2, 0, 3, 2])
    logits = np.full((7, 5), -1.0, np.float32)
    for row, label in zip(logits[1:], labels, strict=False):
        row[label] = 1.0
    (found,) = tags([["good", "film", "is", "dull", "bad"]], LABELS, Windows(BACKEND, 40), lambda ids, types: [logits])
    assert [(e.text, e.label, e.start, e.end) for e in found.entities] == [
        ("good film", "film", 0, 9),
        ("dull", "mood", 13, 17),
        ("bad", "film", 18, 21),
    ]
    score = np.exp(2) / (np.exp(2) + 4)
    assert [e.score for e in found.entities] == pytest.approx([score] * 3)


def test_in_long_inputs_the_window_that_sees_most_around_a_word_decides():
    words = ["film"] * 40
    cut = Windows(BACKEND, 12)  # ten words, of which five are shared

    def forward(ids, types):
        """Label 1 for the two words at either end of a window, which stand further inside another."""
        rows = np.zeros((12, 2), np.float32)
        rows[[1, 2, -2, -3], 1] = 1.0
        return [rows for _ in ids]

    (found,) = tags([words], ["O", "B-edge"], cut, forward)
    assert [i for i, word in enumerate(found.words) if word.label != "O"] == [0, 1, 38, 39]


@pytest.mark.parametrize("batch_size", [1, 32])
def test_tags_do_not_depend_on_the_batch(model, batch_size):
    inputs = [WORDS, "a good film", ["film"] * 90, "", []]
    alone = [model.tag(one) for one in inputs]
    assert model.tags(inputs, batch_size=batch_size) == alone
    assert [len(one.words) for one in alone] == [8, 3, 90, 0, 0]


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ([["a", 1]], r"input 0 must be a text or a list of words, not \['a', 1\]"),
        (["a", None], "input 1 must be a text or a list of words, not None"),
    ],
)
def test_what_cannot_be_tagged(model, inputs, reason):
    with pytest.raises(DataError, match=reason):
        model.tags(inputs)


def test_a_model_for_something_else(model):
    with pytest.raises(ModelError, match="BertForTokenClassification does not answer questions"):
        model.answer("who", "a film")
    with pytest.raises(ModelError, match="batch_size must be 1 or more, not 0"):
        model.tags(["a"], batch_size=0)
