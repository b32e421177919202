"""Long inputs as windows of token ids: a question beside parts of its context, or parts of a list of words.

Training and the engine cut by these same functions, so that what was trained is what runs. Consecutive windows share
`STRIDE` tokens (at most half of them), so that what is cut at the edge of one stands whole in another. Nothing here
knows labels or models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tokenizers
from numpy.typing import NDArray

Ids = NDArray[np.int32]
Floats = NDArray[np.float32]
Forward = Callable[[Sequence[Ids], Sequence[Ids]], Sequence[Floats]]
"""Token ids and token types of sequences -> logits of each, float32 (tokens, labels)."""

WINDOW = 384  # tokens, special ones included (Devlin et al. 2019 on SQuAD; so are STRIDE and QUESTION)
STRIDE = 128
QUESTION = 64


@dataclass(frozen=True)
class Window:
    """Token ids and types of one window; `tokens` of the whole input stand in it from position `first` on."""

    ids: Ids
    types: Ids
    first: int
    tokens: range

    @property
    def inside(self) -> slice:
        """Positions in the window of the tokens of the input."""
        return slice(self.first, self.first + len(self.tokens))


@dataclass(frozen=True)
class ContextWindows:
    """Windows over one context, and where each of its tokens begins and ends: characters, int (tokens, 2)."""

    windows: list[Window]
    offsets: NDArray[np.int64]


@dataclass(frozen=True)
class WordWindows:
    """Windows over one list of words; `pieces` says which token is the first of each word, -1 where it has none."""

    windows: list[Window]
    pieces: NDArray[np.int64]


class Windows:
    """Cuts inputs to windows of at most `size` tokens with a tokenizer of its own, which nobody else sets up."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, size: int) -> None:
        """`tokenizer` is copied; `size` counts special tokens and must leave room for the input."""
        self.size = size
        self._tokenizer = tokenizers.Tokenizer.from_str(tokenizer.to_str())
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._cls, self._sep = self._tokenizer.encode("", "").ids[:2]

    def contexts(self, pairs: Sequence[tuple[str, str]]) -> list[ContextWindows]:
        """Windows of each (question, context): [CLS] question [SEP] part of the context [SEP].

        A question is cut after `QUESTION` tokens, or after half a window.
        """
        limit = min(QUESTION, (self.size - 3) // 2)
        questions = self._tokens([question for question, _ in pairs])
        texts = list(dict.fromkeys(context for _, context in pairs))
        contexts = dict(zip(texts, self._tokens(texts), strict=True))
        return [
            self._context(question.ids[:limit], contexts[text])
            for question, (_, text) in zip(questions, pairs, strict=True)
        ]

    def words(self, sequences: Sequence[Sequence[str]]) -> list[WordWindows]:
        """Windows of each list of words: [CLS] part of their tokens [SEP]."""
        flat = iter(self._tokens([word for words in sequences for word in words]))
        return [self._words([next(flat).ids for _ in words]) for words in sequences]

    def _tokens(self, texts: list[str]) -> list[tokenizers.Encoding]:
        encodings: list[tokenizers.Encoding] = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        return encodings

    def _context(self, question: list[int], context: tokenizers.Encoding) -> ContextWindows:
        prefix = [self._cls, *question, self._sep]
        offsets = np.array(context.offsets, np.int64).reshape(-1, 2)
        return ContextWindows(self._cut(prefix, context.ids, token_type=1), offsets)

    def _words(self, pieces: list[list[int]]) -> WordWindows:
        counts = np.array([len(ids) for ids in pieces], np.int64)
        starts = np.cumsum(counts) - counts
        tokens = [token for ids in pieces for token in ids]
        return WordWindows(self._cut([self._cls], tokens, token_type=0), np.where(counts > 0, starts, -1))

    def _cut(self, prefix: list[int], tokens: list[int], token_type: int) -> list[Window]:
        """Windows that all begin with `prefix` and cover `tokens`; one window if there are none."""
        room = self.size - len(prefix) - 1
        step = room - min(STRIDE, room // 2)
        starts = range(0, max(len(tokens) - room, 0) + step, step)
        return [
            self._window(prefix, tokens, range(start, min(start + room, len(tokens))), token_type) for start in starts
        ]

    def _window(self, prefix: list[int], tokens: list[int], part: range, token_type: int) -> Window:
        ids = [*prefix, *tokens[part.start : part.stop], self._sep]
        types = np.full(len(ids), token_type, np.int32)
        types[: len(prefix)] = 0
        return Window(np.array(ids, np.int32), types, len(prefix), part)


def run(windows: Sequence[Window], forward: Forward) -> list[Floats]:
    """Logits of the input's tokens in each window, float32 (tokens, labels)."""
    logits = forward([window.ids for window in windows], [window.types for window in windows])
    return [rows[window.inside] for window, rows in zip(windows, logits, strict=True)]
