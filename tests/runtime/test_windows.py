"""Windows: every token of an input stands in one, neighbours share tokens, and no window is too long."""

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from bitbert.runtime.windows import QUESTION, STRIDE, Windows, run
from support.tiny_tokenizer import tiny_tokenizer

CLS, SEP = 2, 3
BACKEND = tokenizers.Tokenizer.from_str(tiny_tokenizer().decode())  # pads to 16, which windows must undo


def tokens(text):
    return [i for i in BACKEND.encode(text, add_special_tokens=False).ids if i]


def test_a_short_context_is_one_window():
    (context,) = Windows(BACKEND, 40).contexts([("is a film good", "the film is bad")])
    (window,) = context.windows
    question, text = tokens("is a film good"), tokens("the film is bad")
    assert window.ids.tolist() == [CLS, *question, SEP, *text, SEP]
    assert window.types.tolist() == [0] * (len(question) + 2) + [1] * (len(text) + 1)
    assert window.ids[window.inside].tolist() == text
    assert context.offsets.tolist() == [[0, 3], [4, 8], [9, 11], [12, 15]]


@settings(deadline=None)
@given(st.integers(4, 60), st.integers(0, 120), st.integers(0, 90))
def test_windows_cover_a_context_and_overlap(size, question, length):
    words = ["film", "good", "bad", "dull"]
    texts = [" ".join(words[i % 4] for i in range(n)) for n in (question, length)]
    (context,) = Windows(BACKEND, size).contexts([tuple(texts)])
    ids = tokens(texts[1])
    assert len(context.offsets) == len(ids) == length
    assert sorted({i for window in context.windows for i in window.tokens}) == list(range(length))
    kept = min(question, QUESTION, (size - 3) // 2)
    for window in context.windows:
        assert len(window.ids) == len(window.types) <= size
        assert window.ids[: window.first].tolist() == [CLS, *tokens(texts[0])[:kept], SEP]
        assert window.ids[window.inside].tolist() == ids[window.tokens.start : window.tokens.stop]
        assert window.ids[-1] == SEP
    room = size - kept - 3
    for one, other in zip(context.windows, context.windows[1:], strict=False):
        assert len(one.tokens) == room
        assert one.tokens.stop - other.tokens.start == min(STRIDE, room // 2)


def test_words_know_their_first_token():
    (cut,) = Windows(BACKEND, 40).words([["films", "\u200d", "", "good", "xyz"]])
    assert cut.pieces.tolist() == [0, -1, -1, 2, 3]
    assert cut.windows[0].ids.tolist() == [CLS, *tokens("films good xyz"), SEP]
    assert not cut.windows[0].types.any()


def test_no_words_are_one_empty_window():
    (cut,) = Windows(BACKEND, 40).words([[]])
    assert [window.ids.tolist() for window in cut.windows] == [[CLS, SEP]]


def test_the_tokenizer_of_others_is_left_as_it_was():
    backend = tokenizers.Tokenizer.from_str(BACKEND.to_str())
    backend.enable_truncation(5)
    Windows(backend, 40)
    assert len(backend.encode("a film is a film is a film").ids) == 16
    assert backend.truncation["max_length"] == 5


def test_logits_are_those_of_the_input_alone():
    windows = Windows(BACKEND, 12).contexts([("is", "a film is good and a film is bad")])[0].windows

    def forward(ids, types):
        return [np.stack(pair, axis=1).astype(np.float32) for pair in zip(ids, types, strict=True)]

    rows = run(windows, forward)
    assert len(rows) > 1
    for window, found in zip(windows, rows, strict=True):
        assert found[:, 0].tolist() == window.ids[window.inside].tolist()
        assert found[:, 1].all()


@pytest.mark.parametrize("size", [4, 5, 6])
def test_the_smallest_windows_still_move_on(size):
    (context,) = Windows(BACKEND, size).contexts([("is it", "a film is good")])
    assert {i for window in context.windows for i in window.tokens} == {0, 1, 2, 3}
