"""What is timed: batches of token ids, made up at full length or from texts at their real lengths."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bitbert.errors import DataError
from bitbert.runtime.model import longest_first

Ids = NDArray[np.int32]
Shape = tuple[int, int]

BATCH_SIZE = 32  # of texts


@dataclass(frozen=True, eq=False)
class Batch:
    """B sequences of token ids with their token types, one int32 array each."""

    ids: list[Ids]
    types: list[Ids]

    @property
    def tokens(self) -> int:
        """Tokens of all sequences together, padding not counted."""
        return sum(map(len, self.ids))

    def padded(self) -> dict[str, NDArray[np.int64]]:
        """What Hugging Face models take: ids, mask and types, int64 (B, longest), padded with 0 as collators do."""
        shape = len(self.ids), max(map(len, self.ids))
        inputs = {name: np.zeros(shape, np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
        for row, (ids, types) in enumerate(zip(self.ids, self.types, strict=True)):
            inputs["input_ids"][row, : len(ids)] = ids
            inputs["attention_mask"][row, : len(ids)] = 1
            inputs["token_type_ids"][row, : len(ids)] = types
        return inputs

    def to_json(self) -> list[list[list[int]]]:
        """Plain lists, for another process."""
        return [[x.tolist() for x in self.ids], [x.tolist() for x in self.types]]

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The batch that `to_json` was called on."""
        ids, types = ([np.array(x, np.int32) for x in part] for part in data)
        return cls(ids, types)


@dataclass(frozen=True, eq=False)
class Workload:
    """Batches that are timed together, under one name; `kind` is `shape` or `texts`."""

    name: str
    kind: str
    batches: list[Batch]

    @property
    def sequences(self) -> int:
        """Sequences of all batches."""
        return sum(len(batch.ids) for batch in self.batches)

    @property
    def tokens(self) -> int:
        """Tokens of all batches, padding not counted."""
        return sum(batch.tokens for batch in self.batches)


def parse_shapes(text: str, max_tokens: int) -> list[Shape]:
    """(sequences, tokens) of each shape in a list such as 1x32,8x128.

    Raises `DataError` for anything else, for a shape that stands twice, and for sequences that the model cannot take.

    >>> parse_shapes("1x32,8x128", 512)
    [(1, 32), (8, 128)]
    """
    shapes = [_parse_shape(part.strip(), max_tokens) for part in text.split(",")]
    for shape in shapes:
        if shapes.count(shape) > 1:
            raise DataError(f"shape {shape[0]}x{shape[1]} is given more than once: name each shape once")
    return shapes


def _parse_shape(text: str, max_tokens: int) -> Shape:
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text)
    if not match:
        raise DataError(f"{text!r} is not a shape: expected BxT, sequences x tokens, such as 1x32 or 8x128")
    rows, tokens = int(match.group(1)), int(match.group(2))
    if rows < 1 or not 1 <= tokens <= max_tokens:
        raise DataError(f"shape {text} is not possible: expected 1 or more sequences of 1 to {max_tokens} tokens")
    return rows, tokens


def random_workload(shape: Shape, vocab_size: int, seed: int = 0) -> Workload:
    """One batch of random tokens, all sequences at full length, token types 0; the same tokens for the same seed."""
    rows, tokens = shape
    ids = np.random.default_rng(seed).integers(0, vocab_size, (rows, tokens), dtype=np.int32)
    return Workload(f"{rows}x{tokens}", "shape", [Batch(list(ids), list(np.zeros_like(ids)))])


def text_workload(name: str, ids: Sequence[Ids], types: Sequence[Ids], batch_size: int = BATCH_SIZE) -> Workload:
    """Tokenized texts in batches of similar length, the longest first: as `bitbert.Model` runs them."""
    order = longest_first(ids)
    parts = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return Workload(name, "texts", [Batch([ids[i] for i in part], [types[i] for i in part]) for part in parts])
