"""Tagging: a label for each word from the logits of its first token, and the entities that the labels make up.

Labels follow the IOB2 scheme: B-x begins an entity x, I-x goes on with it, O stands outside. Entities are read from
labels as CoNLL's evaluation reads them: an I-x that nothing goes before begins an entity too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbert.errors import DataError
from bitbert.runtime.windows import Floats, Forward, Windows, WordWindows, run

OUTSIDE = "O"
# A run of letters and digits with what joins them (don't, U.S, http://a.b), @ or # before it; else a single mark.
_WORD = re.compile(r"[@#]?\w+(?:[^\w\s]+\w+)*|[^\w\s]")


@dataclass(frozen=True)
class Span:
    """A word, or the words of one entity: the text from `start` to `end` (characters), its label and its probability.

    An entity's label is its kind, and its `score` the mean of its words'.
    """

    text: str
    label: str
    score: float
    start: int
    end: int


@dataclass(frozen=True)
class Tagged:
    """Every word with its label, and the entities among them."""

    words: list[Span]
    entities: list[Span]


def tags(inputs: Iterable[Any], labels: Sequence[str], windows: Windows, forward: Forward) -> list[Tagged]:
    """Tags of each text or list of words, in order; `forward` gives a logit for each of `labels` for each token.

    The text of a list of words is the words with one blank between. Raises `DataError` for anything else.
    """
    checked = [_checked(i, value) for i, value in enumerate(inputs)]
    cuts = windows.words([[text[start:end] for start, end in places] for text, places in checked])
    logits = iter(run([window for cut in cuts for window in cut.windows], forward))
    return [
        _tagged(*given, labels, _word_logits(cut, [next(logits) for _ in cut.windows], len(labels)))
        for given, cut in zip(checked, cuts, strict=True)
    ]


def entity_spans(labels: Sequence[str]) -> list[tuple[str, int, int]]:
    """(kind, first word, word after the last) of each entity in a sequence of labels.

    >>> entity_spans(["B-group", "I-group", "O", "I-person", "B-person"])
    [('group', 0, 2), ('person', 3, 4), ('person', 4, 5)]
    """
    spans: list[tuple[str, int, int]] = []
    for i, label in enumerate(labels):
        if label == OUTSIDE:
            continue
        mark, _, kind = label.partition("-")
        if mark == "I" and spans and spans[-1][0] == kind and spans[-1][2] == i:
            spans[-1] = (kind, spans[-1][1], i + 1)
        else:
            spans.append((kind, i, i + 1))
    return spans


def _word_logits(cut: WordWindows, logits: Sequence[Floats], count: int) -> NDArray[np.float64]:
    """(words, labels): of each word's first token, from the window where it has most tokens on both sides.

    NaN for a word without tokens.
    """
    rows = np.full((len(cut.pieces), count), np.nan)
    room = np.full(len(cut.pieces), -1)
    for window, window_rows in zip(cut.windows, logits, strict=True):
        place = cut.pieces - window.tokens.start
        around = np.minimum(place, len(window.tokens) - 1 - place)
        better = np.flatnonzero((cut.pieces >= 0) & (around > room))
        rows[better], room[better] = window_rows[place[better]], around[better]
    return rows


def _tagged(text: str, places: Sequence[tuple[int, int]], labels: Sequence[str], logits: NDArray[np.float64]) -> Tagged:
    words = [_word(text, place, labels, row) for place, row in zip(places, logits, strict=True)]
    found = [_entity(text, kind, words[first:after]) for kind, first, after in entity_spans([w.label for w in words])]
    return Tagged(words, found)


def _word(text: str, place: tuple[int, int], labels: Sequence[str], logits: NDArray[np.float64]) -> Span:
    """A word of which the tokenizer keeps nothing, such as a control character, is outside for certain."""
    start, end = place
    if np.isnan(logits).any():
        return Span(text[start:end], OUTSIDE, 1.0, start, end)
    best = int(logits.argmax())
    return Span(text[start:end], labels[best], float(1.0 / np.exp(logits - logits[best]).sum()), start, end)


def _entity(text: str, kind: str, words: Sequence[Span]) -> Span:
    start, end = words[0].start, words[-1].end
    return Span(text[start:end], kind, sum(word.score for word in words) / len(words), start, end)


def _checked(i: int, value: Any) -> tuple[str, list[tuple[int, int]]]:
    """The text of an input, and where each of its words stands."""
    if isinstance(value, str):
        return value, [match.span() for match in _WORD.finditer(value)]
    if not isinstance(value, Sequence) or not all(isinstance(word, str) for word in value):
        raise DataError(f"input {i} must be a text or a list of words, not {value!r:.60}")
    ends = np.cumsum([len(word) + 1 for word in value]) - 1
    return " ".join(value), [(int(end) - len(word), int(end)) for word, end in zip(value, ends, strict=True)]
