"""Answers: the best span against every span tried in turn, and the same answer whatever stands beside the question."""

import itertools
import math

import numpy as np
import pytest
import tokenizers

import bitbert
from bitbert.checkpoint import write
from bitbert.errors import DataError, ModelError
from bitbert.runtime.answers import answers, spans
from bitbert.runtime.windows import Windows
from support.random_model import random_model, tiny_config
from support.tiny_tokenizer import tiny_tokenizer

pytest.importorskip("bitbert._native", reason="the native engine is not built")

BACKEND = tokenizers.Tokenizer.from_str(tiny_tokenizer().decode())
LONG = "the film is good ! a dull film is not gripping , is it ? films , a bad film , the films are dull xyz " * 2
PAIRS = [("is the film good ?", "the film is good"), ("which films", LONG), ("who", "bad !"), ("what is bad", LONG)]


def random_forward(seed=0):
    """Logits that are a function of the sequence and of nothing else."""

    def forward(ids, types):
        return [np.random.default_rng([seed, *i]).standard_normal((len(i), 2)).astype(np.float32) for i in ids]

    return forward


@pytest.mark.parametrize("max_tokens", [1, 4, 30, 500])
@pytest.mark.parametrize("size", [14, 40, 384])
def test_the_best_span_is_that_of_brute_force(size, max_tokens):
    cut, forward = Windows(BACKEND, size), random_forward()
    for pair, found in zip(PAIRS, answers(PAIRS, cut, forward, max_tokens), strict=True):
        (context,) = cut.contexts([pair])
        scores = {}
        for window in context.windows:
            (rows,) = forward([window.ids], [window.types])
            for first, last in itertools.product(window.tokens, window.tokens):
                if first <= last < first + max_tokens:
                    place = window.first - window.tokens.start
                    score = float(rows[first + place, 0]) + float(rows[last + place, 1])
                    scores[first, last] = max(score, scores.get((first, last), -math.inf))
        first, last = max(scores, key=scores.get)
        assert (found.start, found.end) == (context.offsets[first, 0], context.offsets[last, 1])
        assert found.text == pair[1][found.start : found.end]
        total = sum(math.exp(score - scores[first, last]) for score in scores.values())
        assert found.score == pytest.approx(1 / total)


def test_spans_across_windows_do_not_exist():
    (context,) = Windows(BACKEND, 14).contexts([("is", LONG)])
    rows = [np.zeros((len(window.tokens), 2), np.float32) for window in context.windows]
    scores = spans(context, rows, 30)
    longest = max(len(window.tokens) for window in context.windows)
    assert np.isneginf(scores[:, longest:]).all()
    assert np.isfinite(scores[:, 0]).all()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    packed = random_model(config=tiny_config("BertForQuestionAnswering"))
    path = write(packed, tmp_path_factory.mktemp("qa") / "m", files={"tokenizer.json": tiny_tokenizer()})
    return bitbert.load(path, threads=1)


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_answers_do_not_depend_on_the_batch(model, batch_size):
    alone = [model.answer(question, context) for question, context in PAIRS]
    assert model.answers(PAIRS, batch_size=batch_size) == alone
    assert model.answers(PAIRS[::-1], batch_size=batch_size) == alone[::-1]
    for answer, (_, context) in zip(alone, PAIRS, strict=True):
        assert context[answer.start : answer.end] == answer.text
        assert 0 < answer.score <= 1


def test_answers_come_from_the_logits_of_the_engine(model):
    cut = model.tokenizer.windows

    def one_by_one(ids, types):
        return [model.engine.forward([i], [t]) for i, t in zip(ids, types, strict=True)]

    assert model.answers(PAIRS) == answers(PAIRS, cut, one_by_one, 30)


def test_a_longest_answer(model):
    for question, context in PAIRS:
        text = model.answer(question, context, max_answer_tokens=1).text
        assert len(BACKEND.encode(text, add_special_tokens=False).tokens) - text.count("[PAD]") >= 1
        assert " " not in text
    with pytest.raises(DataError, match="max_answer_tokens must be 1 or more, not 0"):
        model.answer("a", "b", max_answer_tokens=0)


def test_no_questions_give_no_answers(model):
    assert model.answers([]) == []


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ([("who", " ")], "the context of input 0 is empty"),
        ([("who", "a"), ("", "a")], "the question of input 1 is empty"),
        (["who"], "input 0 must be a question and its context, two strings, not 'who'"),
        ([("who", None)], "input 0 must be a question and its context"),
        ([("who", "\u200d")], "the tokenizer finds no words in the context"),
    ],
)
def test_what_cannot_be_answered(model, pairs, reason):
    with pytest.raises(DataError, match=reason):
        model.answers(pairs)


def test_a_model_for_something_else(tmp_path, model):
    files = {"tokenizer.json": tiny_tokenizer()}
    other = bitbert.load(write(random_model(), tmp_path / "other", files=files))
    with pytest.raises(ModelError, match="BertForSequenceClassification does not answer questions"):
        other.answer("who", "a film")
    with pytest.raises(ModelError, match="BertForQuestionAnswering does not tag words"):
        model.tag("a film")
    config = tiny_config("BertForQuestionAnswering", type_vocab_size=1)
    single = bitbert.load(write(random_model(config=config), tmp_path / "single", files=files))
    with pytest.raises(DataError, match="one token type only"):
        single.answer("who", "a film")
