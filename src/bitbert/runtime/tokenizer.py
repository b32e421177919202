"""Texts to token ids with the model's own `tokenizer.json`: special tokens and truncation, never padding."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from bitbert.checkpoint import Architecture
from bitbert.errors import CheckpointError, DataError
from bitbert.runtime.windows import WINDOW, Windows

Ids = NDArray[np.int32]
Text = str | tuple[str, str]

MIN_LENGTH = 4  # a pair has three special tokens
_ONE_TYPE = "this model has one token type only: give it single texts, not pairs"


class TruncationWarning(UserWarning):
    """Some texts were longer than the model reads, and only their beginnings were used."""


class Tokenizer:
    """The tokenizer of a packed directory, cutting at `max_length` tokens, special tokens included."""

    def __init__(self, directory: Path, architecture: Architecture, max_length: int | None = None) -> None:
        """Read `tokenizer.json`; raises `CheckpointError` if it is missing, damaged or of a larger vocabulary."""
        self.max_length = _checked_length(max_length, architecture.max_position_embeddings)
        self._token_types = architecture.type_vocab_size
        self._tokenizer = _open(directory / "tokenizer.json", architecture.vocab_size)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.max_length)
        self._window = max_length or min(WINDOW, self.max_length)

    @cached_property
    def windows(self) -> Windows:
        """Cuts what must be read whole, such as contexts, to windows: of `max_length` if that was given."""
        return Windows(self._tokenizer, self._window)

    def check_pairs(self) -> None:
        """Raise `DataError` if the model cannot tell the two texts of a pair apart."""
        if self._token_types < 2:
            raise DataError(_ONE_TYPE)

    def encode(self, texts: Iterable[Text]) -> tuple[list[Ids], list[Ids]]:
        """Token ids and token types of each text or pair; one `TruncationWarning` if any had to be cut.

        Raises `DataError` for anything that is not a list of strings or of pairs of strings.
        """
        encodings = self._tokenizer.encode_batch(checked_texts(texts))
        self._warn(sum(bool(encoding.overflowing) for encoding in encodings), len(encodings))
        types = [np.array(encoding.type_ids, np.int32) for encoding in encodings]
        if any(t.max(initial=0) >= self._token_types for t in types):
            raise DataError(_ONE_TYPE)
        return [np.array(encoding.ids, np.int32) for encoding in encodings], types

    def _warn(self, cut: int, count: int) -> None:
        if cut:
            verb, past = ("is", "was") if cut == 1 else ("are", "were")
            message = f"{cut} of {count} texts {verb} longer than {self.max_length} tokens and {past} cut"
            warnings.warn(message, TruncationWarning, stacklevel=2)


def checked_texts(texts: Iterable[Any]) -> list[Text]:
    """The texts as a list, pairs as tuples; raises `DataError` naming the first that is neither."""
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise DataError(f"texts must be a list of strings or of pairs of strings, not {type(texts).__name__}")
    checked = [tuple(text) if isinstance(text, list) else text for text in texts]
    for i, text in enumerate(checked):
        parts = text if isinstance(text, tuple) and len(text) == 2 else (text,)
        if not all(isinstance(part, str) for part in parts):
            raise DataError(f"text {i} must be a string or a pair of strings, not {text!r:.60}")
        if len(parts) != (2 if isinstance(checked[0], tuple) else 1):
            raise DataError(f"text {i} differs from text 0: give single texts only, or pairs only")
    return checked


def _open(path: Path, vocab_size: int) -> tokenizers.Tokenizer:
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: without it the model cannot read text")
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no narrower type
        raise CheckpointError(f"{path} is not a tokenizer: {error}") from None
    if tokenizer.get_vocab_size() > vocab_size:
        raise CheckpointError(f"{path} has {tokenizer.get_vocab_size()} tokens, but the model has {vocab_size}")
    return tokenizer


def _checked_length(max_length: int | None, limit: int) -> int:
    if max_length is None:
        return limit
    if not MIN_LENGTH <= max_length <= limit:
        raise DataError(f"max_length {max_length} is not possible: this model takes {MIN_LENGTH} to {limit} tokens")
    return max_length
