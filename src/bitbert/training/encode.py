"""Texts, questions and words -> token ids and what is to be learned of them, and batches of similar length."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import Sampler
from transformers import DataCollatorForTokenClassification, DataCollatorWithPadding, PreTrainedTokenizerBase
from transformers.trainer_pt_utils import get_length_grouped_indices

from bitbert.runtime.windows import WINDOW, ContextWindows, Window, Windows
from bitbert.training.tasks import Task

LENGTH = 128  # tokens of a text in training unless another number is given
INPUTS = ("input_ids", "token_type_ids", "attention_mask")
LABELS = ("labels", "start_positions", "end_positions")  # a data set has the first, or the other two
IGNORED = -100  # what torch's cross-entropy leaves out


def default_length(task: Task) -> int:
    """Tokens of a sequence in training unless another number is given; 384 is what SQuAD is usually trained with."""
    return WINDOW if task.kind == "answering" else LENGTH


def encode(split: Dataset, task: Task, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Dataset:
    """A split -> input_ids, token_type_ids, attention_mask, length, and labels or start_positions and end_positions.

    A row is a text cut to `max_length` tokens, or a window of so many of a context or of words (`runtime/windows.py`);
    nothing is padded. A window without the answer has it at token 0. A word is labelled on its first token; the others,
    and special tokens, are `IGNORED`.
    """
    if task.kind == "answering":
        return _encode_questions(split, backend_windows(tokenizer, max_length))
    if task.kind == "tagging":
        return _encode_words(split, backend_windows(tokenizer, max_length))
    return _encode_texts(split, task, tokenizer, max_length)


def encode_unlabelled(texts: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, max_length: int) -> Dataset:
    """Texts, or all first and all second ones of pairs -> the columns of `encode` without labels."""
    # The engine always tells a pair's texts apart by token type; some tokenizers do so only when asked.
    columns: dict[str, Any] = dict(
        tokenizer(*map(list, texts), truncation=True, max_length=max_length, return_token_type_ids=True)
    )
    return Dataset.from_dict(columns | {"length": [len(ids) for ids in columns["input_ids"]]})


def backend_windows(tokenizer: PreTrainedTokenizerBase, max_length: int) -> Windows:
    """Windows as the engine will cut them, from the tokenizer of a float checkpoint."""
    return Windows(tokenizer.backend_tokenizer, max_length)


def _encode_texts(split: Dataset, task: Task, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Dataset:
    texts = [split[column][:] for column in ("text", "text_pair") if column in split.column_names]
    labels = [float(x) for x in split["label"]] if task.is_regression else list(split["label"])
    return encode_unlabelled(texts, tokenizer, max_length).add_column("labels", labels)


def _encode_questions(split: Dataset, cut: Windows) -> Dataset:
    rows = []
    pairs = list(zip(split["question"], split["context"], strict=True))
    for cuts, texts, starts in zip(cut.contexts(pairs), split["answers"], split["starts"], strict=True):
        span = _tokens_of(cuts, starts[0], starts[0] + len(texts[0]))
        for window in cuts.windows:
            start, end = _place(window, span)
            rows.append(_row(window) | {"start_positions": start, "end_positions": end})
    return Dataset.from_list(rows)


def _tokens_of(context: ContextWindows, start: int, end: int) -> tuple[int, int] | None:
    """First and last token that the characters from `start` to `end` touch, None if there is none."""
    touched = np.flatnonzero((context.offsets[:, 0] < end) & (context.offsets[:, 1] > start))
    return (int(touched[0]), int(touched[-1])) if len(touched) else None


def _place(window: Window, span: tuple[int, int] | None) -> tuple[int, int]:
    """Where a span of tokens stands in a window; (0, 0) where it does not stand there whole."""
    if span is None or span[0] not in window.tokens or span[1] not in window.tokens:
        return 0, 0
    shift = window.first - window.tokens.start
    return span[0] + shift, span[1] + shift


def _encode_words(split: Dataset, cut: Windows) -> Dataset:
    rows = []
    for cuts, tags in zip(cut.words(list(split["words"])), split["tags"], strict=True):
        there = cuts.pieces >= 0
        of_token = dict(zip(cuts.pieces[there].tolist(), np.asarray(tags)[there].tolist(), strict=True))
        for window in cuts.windows:
            labels = np.full(len(window.ids), IGNORED)
            labels[window.inside] = [of_token.get(token, IGNORED) for token in window.tokens]
            if (labels != IGNORED).any():  # else there is nothing to learn, and a mean over nothing
                rows.append(_row(window) | {"labels": labels})
    return Dataset.from_list(rows)


def _row(window: Window) -> dict[str, Any]:
    mask = np.ones_like(window.ids)
    return dict(zip((*INPUTS, "length"), (window.ids, window.types, mask, len(mask)), strict=True))


def collator(encoded: Dataset, tokenizer: PreTrainedTokenizerBase) -> Any:
    """What makes a padded batch of rows, with labels padded by `IGNORED` where each token has one."""
    of_tokens = "labels" in encoded.column_names and isinstance(encoded[0]["labels"], list)
    return (DataCollatorForTokenClassification if of_tokens else DataCollatorWithPadding)(tokenizer)


def digest(encoded: Dataset) -> str:
    """SHA-256 of all token ids and labels of an encoded split, in order."""
    sha256 = hashlib.sha256()
    for column in ("length", "input_ids", *LABELS):
        if column not in encoded.column_names:
            continue
        values = encoded[column][:]
        flat = itertools.chain.from_iterable(values) if isinstance(values[0], list) else values
        sha256.update(np.fromiter(flat, np.float64).tobytes())
    return sha256.hexdigest()


class LengthGroupedSampler(Sampler[int]):
    """Random batches of similar length; their order is a function of seed and epoch, so a resumed run sees the same."""

    def __init__(self, lengths: list[int], batch_size: int, seed: int) -> None:
        """`lengths` in tokens, one per row of the data set."""
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        """Row numbers; every `batch_size` of them have about the same length."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        return iter(get_length_grouped_indices(self.lengths, self.batch_size, generator=generator))


def some_batches(
    dataset: Dataset, tokenizer: PreTrainedTokenizerBase, batch_size: int, count: int, seed: int
) -> list[dict[str, Tensor]]:
    """`count` (or fewer) padded batches of `dataset`, each of similar length, without labels and lengths."""
    order = list(LengthGroupedSampler(list(dataset["length"]), batch_size, seed))[: batch_size * count]
    rows = dataset.select(order).select_columns(list(INPUTS))
    collate = DataCollatorWithPadding(tokenizer)
    starts = range(0, len(rows), batch_size)
    return [dict(collate([rows[i] for i in range(s, min(s + batch_size, len(rows)))])) for s in starts]
