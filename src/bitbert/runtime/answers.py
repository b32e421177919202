"""Question answering: the most probable span of a context, from the logits of its windows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbert.errors import DataError
from bitbert.runtime.windows import ContextWindows, Floats, Forward, Windows, run

MAX_ANSWER_TOKENS = 30  # as SQuAD's baselines have it


@dataclass(frozen=True)
class Answer:
    """`context[start:end]`, which is `text`, and the probability of just this span among all that could be chosen."""

    text: str
    score: float
    start: int
    end: int


def answers(pairs: Iterable[Any], windows: Windows, forward: Forward, max_answer_tokens: int) -> list[Answer]:
    """The answer to each (question, context), in order; `forward` gives logits of start and end for each token.

    Raises `DataError` for a pair that is no pair of texts, and for a question or a context without any.
    """
    if max_answer_tokens < 1:
        raise DataError(f"max_answer_tokens must be 1 or more, not {max_answer_tokens}")
    checked = [_checked(i, pair) for i, pair in enumerate(pairs)]
    contexts = windows.contexts(checked)
    for (_, text), context in zip(checked, contexts, strict=True):
        if not len(context.offsets):
            raise DataError(f"the tokenizer finds no words in the context {text!r:.60}")
    logits = iter(run([window for context in contexts for window in context.windows], forward))
    return [
        _answer(text, context, spans(context, list(_take(logits, context)), max_answer_tokens))
        for (_, text), context in zip(checked, contexts, strict=True)
    ]


def spans(context: ContextWindows, logits: Sequence[Floats], max_tokens: int) -> NDArray[np.float64]:
    """Scores (tokens of the context, `max_tokens`): [i, n] is that of tokens i to i + n, start logit plus end logit.

    A span that stands in several windows has its best score, one that stands in none -inf.
    """
    tokens = len(context.offsets)
    scores = np.full((tokens, min(max_tokens, tokens)), -np.inf)
    for window, rows in zip(context.windows, logits, strict=True):
        first, after = window.tokens.start, window.tokens.stop
        start, end = rows.astype(np.float64).T
        for n in range(min(scores.shape[1], after - first)):
            part = scores[first : after - n, n]
            np.maximum(part, start[: len(start) - n] + end[n:], out=part)
    return scores


def _take(logits: Iterator[Floats], context: ContextWindows) -> Iterator[Floats]:
    return (next(logits) for _ in context.windows)


def _answer(text: str, context: ContextWindows, scores: NDArray[np.float64]) -> Answer:
    first, more = np.unravel_index(int(scores.argmax()), scores.shape)
    start, end = int(context.offsets[first, 0]), int(context.offsets[first + more, 1])
    return Answer(text[start:end], float(1.0 / np.exp(scores - scores.max()).sum()), start, end)


def _checked(i: int, pair: Any) -> tuple[str, str]:
    if not isinstance(pair, tuple | list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
        raise DataError(f"input {i} must be a question and its context, two strings, not {pair!r:.60}")
    question, context = pair
    for name, part in (("question", question), ("context", context)):
        if not part.strip():
            raise DataError(f"the {name} of input {i} is empty")
    return question, context
