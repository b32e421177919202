"""How far a model's answers are from those of the float model that it came from, for every kind of head.

Answers are rows of logits: one for each text, for start and end of an answer, or for each token. Two rows are compared
by the Kullback-Leibler divergence of their softmax; a regression's one number by half its squared distance, which is
the same for two normal distributions of variance 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bitbert.training.encode import INPUTS

Batch = Mapping[str, Tensor]

_NOWHERE = -1e4  # the logit of padding, where no answer can be; finite, so that 0 * log 0 is 0


def answers(model: PreTrainedModel, batch: Batch) -> Tensor:
    """What `model` says to a padded batch: logits (rows, classes) in float32."""
    return rows_of(model(**{name: batch[name].to(model.device) for name in INPUTS}), batch)


def rows_of(outputs: Any, batch: Batch) -> Tensor:
    """The rows of logits in what a model with a head gave for a padded batch."""
    inside = batch["attention_mask"] != 0
    if "start_logits" in outputs:
        ends = torch.cat([outputs.start_logits, outputs.end_logits]).float()
        return ends.masked_fill(~inside.repeat(2, 1).to(ends.device), _NOWHERE)
    logits: Tensor = outputs.logits.float()
    return logits if logits.dim() == 2 else logits[inside.to(logits.device)]


def by_text(values: Tensor, batch: Batch) -> Tensor:
    """(texts): `values` (rows) summed over the rows that `rows_of` gives for each text."""
    inside = batch["attention_mask"] != 0
    texts = torch.arange(len(inside)).repeat(len(values) // len(inside))
    if len(values) == int(inside.sum()):  # a row for each token; no text has as few tokens as a question has rows
        texts = inside.nonzero()[:, 0].cpu()
    return values.new_zeros(len(inside)).index_add_(0, texts.to(values.device), values)


def divergence(logits: Tensor, reference: Tensor) -> Tensor:
    """(rows): how far each row is from the reference's, in float64, as it may be far below what float32 resolves."""
    ours, theirs = logits.double(), reference.double()
    if ours.shape[-1] == 1:
        return (ours - theirs).square().sum(-1) / 2
    ours, theirs = ours.log_softmax(-1), theirs.log_softmax(-1)
    return (theirs.exp() * (theirs - ours)).sum(-1)


def random_direction(logits: Tensor, generator: torch.Generator) -> Tensor:
    """(rows, classes): random s with E[s s^T] = H, the second derivative of the divergence by the logits.

    H = diag(p) - p p^T for a softmax, and s = sqrt(p) r - p sum(sqrt(p) r) with random signs r has it. The gradient of
    a sampled label's likelihood, the usual choice, has it too, with more variance where p is near 0 or 1.
    """
    signs = 2 * torch.randint(0, 2, logits.shape, generator=generator).to(logits) - 1
    if logits.shape[-1] == 1:
        return signs
    p = logits.softmax(-1)
    return p.sqrt() * signs - p * (p.sqrt() * signs).sum(-1, keepdim=True)
