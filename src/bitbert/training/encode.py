"""Texts -> token ids for training, and batches of similar length."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import Sampler
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase
from transformers.trainer_pt_utils import get_length_grouped_indices

from bitbert.training.tasks import Task


def encode(split: Dataset, task: Task, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Dataset:
    """A split with columns text, (text_pair), label -> input_ids, token_type_ids, attention_mask, labels, length.

    Texts are cut to `max_length` tokens; nothing is padded.
    """
    texts = [list(split[column]) for column in ("text", "text_pair") if column in split.column_names]
    # The engine always tells a pair's texts apart by token type; some tokenizers do so only when asked.
    columns: dict[str, Any] = dict(
        tokenizer(*texts, truncation=True, max_length=max_length, return_token_type_ids=True)
    )
    columns["labels"] = [float(x) for x in split["label"]] if task.is_regression else list(split["label"])
    columns["length"] = [len(ids) for ids in columns["input_ids"]]
    return Dataset.from_dict(columns)


def digest(encoded: Dataset) -> str:
    """SHA-256 of all token ids and labels of an encoded split, in order."""
    sha256 = hashlib.sha256()
    for column in ("length", "input_ids", "labels"):
        values = encoded[column][:]
        flat = itertools.chain.from_iterable(values) if column == "input_ids" else values
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
    rows = dataset.select(order).remove_columns(["labels", "length"])
    collate = DataCollatorWithPadding(tokenizer)
    starts = range(0, len(rows), batch_size)
    return [dict(collate([rows[i] for i in range(s, min(s + batch_size, len(rows)))])) for s in starts]
