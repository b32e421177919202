"""Distillation losses between a student and its teacher, padding left out.

TinyBERT (Jiao et al. 2020), TernaryBERT and KDLSQ-BERT use three with weight 1: soft cross-entropy of the logits, mean
squared error of the attention scores (before mask and softmax) and of the hidden states (embeddings and every layer),
each summed over layers. In place of the scores KD-QAT (Kim et al. 2022) compares the attention *probabilities* of every
layer, by their divergence. MiniLM (Wang et al. 2020), and MKQ-BERT after it, looks at the last layer alone: its
attention probabilities, and the relations of its values, softmax(V V^T / sqrt(head_dim)).

A student with fewer layers has as many blocks of the teacher's: its layers are compared with the last of each block.

For questions KDLSQ-BERT takes 100 times the cross-entropy of start and of end, each a mean over the 384 positions of
its padded windows. Here a window ends where its text does, and a mean would depend on its length: positions are summed
and multiplied by 100/384, the same number. So weight 1 of `logits` in a recipe is the published loss for every task.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

Layer = TypeVar("Layer")

SPAN_SCALE = 100.0 / 384.0


def logits_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over batch *and classes* of -softmax(t) log_softmax(s), as published; (batch, classes) each.

    With one output, a regression, the mean squared error.
    """
    if student.shape[-1] == 1:
        return functional.mse_loss(student, teacher)
    return -(teacher.softmax(-1) * student.log_softmax(-1)).mean()


def span_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """`SPAN_SCALE` times the soft cross-entropy over positions, mean over batch; (batch, tokens) each.

    `mask` as in `scores_loss`: padding is no place that could be chosen.
    """
    padding = mask == 0
    target = teacher.masked_fill(padding, -torch.inf).softmax(-1)
    log_probability = student.masked_fill(padding, -torch.inf).log_softmax(-1).masked_fill(padding, 0.0)
    return SPAN_SCALE * -(target * log_probability).sum(-1).mean()


def scores_loss(student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Sum over layers of the mean squared error of scores (batch, heads, tokens, tokens) between unpadded tokens.

    `mask` (batch, tokens) is 1 for tokens and 0 for padding.
    """
    pairs = mask[:, None, :, None] * mask[:, None, None, :].float()  # (B, 1, T, T)
    count = pairs.sum() * student[0].shape[1]
    return torch.stack([_masked_square(s, t, pairs) for s, t in zip(student, teacher, strict=True)]).sum() / count


def hidden_loss(student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Sum over embeddings and layers of the mean squared error of hidden states (batch, tokens, features).

    `mask` (batch, tokens) is 1 for tokens and 0 for padding.
    """
    tokens = mask[:, :, None].float()
    count = tokens.sum() * student[0].shape[-1]
    return torch.stack([_masked_square(s, t, tokens) for s, t in zip(student, teacher, strict=True)]).sum() / count


def attention_loss(student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Sum over layers of KL(teacher || student) of softmax(scores), mean over heads and unpadded query tokens.

    Scores (batch, heads, tokens, tokens); `mask` as in `scores_loss`.
    """
    queries = mask[:, None, :, None].float()
    count = queries.sum() * student[0].shape[1]
    pairs = zip(student, teacher, strict=True)
    return torch.stack([(_divergence(s, t, mask) * queries).sum() for s, t in pairs]).sum() / count


def value_loss(student: Tensor, teacher: Tensor, heads: int, mask: Tensor) -> Tensor:
    """`attention_loss` of the relations between values (batch, tokens, features) of one layer."""
    return attention_loss([_relations(student, heads)], [_relations(teacher, heads)], mask)


def last_of_blocks(layers: Sequence[Layer], blocks: int) -> Sequence[Layer]:
    """Those of a teacher's layers, or what came of them, that a student with `blocks` layers is compared with.

    >>> last_of_blocks(["a", "b", "c", "d"], 2)
    ['b', 'd']
    """
    size = len(layers) // blocks
    return layers[size - 1 :: size]


def _divergence(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """KL(teacher || student) of each row of scores, padded keys left out."""
    padding = (mask == 0)[:, None, None, :]
    ours, theirs = (x.float().masked_fill(padding, -torch.inf).log_softmax(-1) for x in (student, teacher))
    difference = (theirs - ours).masked_fill(padding, 0.0)
    return (theirs.exp() * difference).sum(-1, keepdim=True)


def _relations(values: Tensor, heads: int) -> Tensor:
    """V V^T / sqrt(head_dim) of each head."""
    batch, tokens, features = values.shape
    by_head = values.view(batch, tokens, heads, features // heads).transpose(1, 2)
    return by_head @ by_head.transpose(-1, -2) / math.sqrt(features // heads)


def _masked_square(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    difference = (student - teacher) * mask
    return difference.flatten() @ difference.flatten()
