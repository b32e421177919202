"""What each width of each item costs: the estimated divergence from the float model when it alone is quantized.

Let z be the logits of a text, g = J^T s with J = dz/dw and s the random direction of `divergence.py`, whose E[s s^T] is
the second derivative H of the divergence D by z. At the float model D and its gradient are 0, so to second order (the
Gauss-Newton matrix J^T H J is the Hessian there, and the Fisher matrix of the model's own answers) a change d costs

    D(w + d) = 1/2 d^T J^T H J d = 1/2 E[(g^T d)^2]

with the mean over texts and s. Here d = Q(w) - w for the rows of an item, or -w and minus its bias where it is pruned.
One backward pass for each batch gives every item and width, g being the gradient at a layer's output times its input,
text by text. The more usual diagonal, 1/2 sum_w E[g_w^2] d_w^2 (LeCun et al. 1990), leaves out what the errors of one
row have in common. `first_order` is E[|g^T d|], how far the answer moves.

The products g^T d, text by text, are kept: of several changes together they add up, each text for itself, and so say
what errors have in common (`joint.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn
from transformers import PreTrainedModel

from bitbert.prepare import base_model
from bitbert.search.divergence import Batch, answers, by_text, random_direction
from bitbert.search.mixed import MixedModel, MixedTensor
from bitbert.search.space import Space
from bitbert.watch import Watch, watched

Values = NDArray[np.float64]
Moves = NDArray[np.float32]

ESTIMATES: dict[str, Callable[[Moves], Any]] = {
    "second_order": lambda moves: np.square(moves) / 2,
    "first_order": np.abs,
}


@dataclass(frozen=True)
class Effects:
    """How far answers move along s, text by text, if one item changes from what it is now to a choice.

    `moves` (texts, items, choices): s^T dz, to first order. `missed` (texts): s^T (z - reference) as it is now.
    """

    moves: Moves
    missed: Moves


def effects(
    mixed: MixedModel,
    batches: Sequence[Batch],
    reference: Sequence[Tensor],
    *,
    seed: int,
    watch: Watch = lambda *_: None,
) -> Effects:
    """Of the model as it is now; `reference` are the float model's answers, `seed` is that of the random directions."""
    generator = torch.Generator().manual_seed(seed)
    moves, missed = [], []
    with _recording(mixed.model) as recorded:
        for batch, theirs in watched(list(zip(batches, reference, strict=True)), "sensitivity", watch):
            logits, direction = answers(mixed.model, batch), random_direction(theirs, generator)
            passed = _Passed(batch, logits, direction, recorded)
            moves.append(np.concatenate([_moves(tensor, passed) for tensor in mixed.tensors], axis=1))
            missed.append(by_text(((logits.detach() - theirs) * direction).sum(dim=-1), batch).cpu().numpy())
    return Effects(np.concatenate(moves), np.concatenate(missed))


def costs(found: Effects, space: Space, estimate: str = "second_order") -> Values:
    """(items, choices): of effects at the float model, inf where a choice is not allowed."""
    mean = ESTIMATES[estimate](found.moves).mean(axis=0, dtype=np.float64)
    return np.where(space.allowed, mean, np.inf)


def sensitivity(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    space: Space,
    *,
    seed: int,
    estimate: str = "second_order",
    watch: Watch = lambda *_: None,
) -> Values:
    """(items, choices): the cost of each width, inf where it is not allowed; `model` is the float one.

    Batches are as training has them. `estimate` is a name of `ESTIMATES`; `seed` that of the random directions.
    """
    mixed = MixedModel(model, space, watch=watch)
    return costs(effects(mixed, batches, mixed.answers(batches), seed=seed, watch=watch), space, estimate)


def measured(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    space: Space,
    pairs: Sequence[tuple[int, int]],
    *,
    watch: Watch = lambda *_: None,
) -> Values:
    """(pairs): the true divergence, mean over texts, with only item i of each (i, j) quantized, to choice j."""
    mixed = MixedModel(model, space)
    reference, found = mixed.answers(batches), []
    for item, choice in watched(pairs, "measuring", watch):
        with mixed.one(item, choice):
            found.append(mixed.divergence(batches, reference))
    return np.array(found)


def rank_correlation(estimated: Values, true: Values) -> float:
    """Spearman's."""
    return float(stats.spearmanr(estimated, true).statistic)


# ---- what passes through the model -----------------------------------------------------------------------------------

_EMBEDDINGS = "embeddings.LayerNorm"


class _Passed:
    """Inputs and gradients at the outputs of every layer for one batch.

    `gradients` are those of s^T z, text by text: (texts, tokens, rows), a pooler's (texts, 1, rows). The sum of the
    three embeddings counts as the output of `embeddings.LayerNorm`'s input.
    """

    def __init__(
        self, batch: Batch, logits: Tensor, direction: Tensor, recorded: dict[str, tuple[Tensor, Tensor]]
    ) -> None:
        found = torch.autograd.grad((logits * direction).sum(), [output for _, output in recorded.values()])
        self.batch = batch
        self.inputs = {name: _by_token(x.detach()) for name, (x, _) in recorded.items()}
        self.gradients = {name: _by_token(g) for name, g in zip(recorded, found, strict=True)}


def _by_token(x: Tensor) -> Tensor:
    return x[:, None] if x.dim() == 2 else x


@contextmanager
def _recording(model: PreTrainedModel) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """Yield what the last forward pass put into each linear layer and got out of it, by name."""
    encoder, recorded = base_model(model), dict[str, tuple[Tensor, Tensor]]()

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda _, inputs, output: recorded.__setitem__(name, (inputs[0], output))

    def begin(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        total = inputs[0].requires_grad_()
        recorded[_EMBEDDINGS] = (total, total)
        return (total, *inputs[1:])

    linears = {name: module for name, module in encoder.named_modules() if isinstance(module, nn.Linear)}
    hooks = [module.register_forward_hook(note(name)) for name, module in linears.items()]
    hooks.append(encoder.get_submodule(_EMBEDDINGS).register_forward_pre_hook(begin))
    try:
        yield recorded
    finally:
        for hook in hooks:
            hook.remove()


# ---- one tensor ------------------------------------------------------------------------------------------------------

_IDS: dict[str, Callable[[Batch], Tensor]] = {
    "embeddings.word_embeddings": lambda batch: batch["input_ids"],
    "embeddings.token_type_embeddings": lambda batch: batch["token_type_ids"],
    "embeddings.position_embeddings": lambda batch: torch.arange(batch["input_ids"].shape[1]),
}


def _moves(tensor: MixedTensor, passed: _Passed) -> Moves:
    """(texts, items, choices): g^T d for each item of the tensor."""
    module = tensor.name.removesuffix(".weight")
    if module in _IDS:
        return _moves_of_table(tensor, _IDS[module](passed.batch), passed.gradients[_EMBEDDINGS])
    inputs, gradient = passed.inputs[module], passed.gradients[module]
    by_weight = (gradient.transpose(1, 2) @ inputs).transpose(0, 1)  # (rows, texts, columns)
    by_row = by_weight @ tensor.values.transpose(1, 2) - by_weight @ tensor.weight[:, :, None]
    if tensor.bias is not None and tensor.biases is not None:
        by_row += gradient.sum(dim=1).t()[:, :, None] * (tensor.biases - tensor.bias[:, None])[:, None]
    items = by_row.new_zeros(tensor.where.stop - tensor.where.start, *by_row.shape[1:])
    moves: Moves = items.index_add_(0, tensor.item_of_row, by_row).transpose(0, 1).cpu().numpy()
    return moves


def _moves_of_table(tensor: MixedTensor, ids: Tensor, gradient: Tensor) -> Moves:
    """(texts, 1, choices); that a table is pruned means nothing and is not allowed."""
    ids = ids.to(gradient.device)
    now = tensor.weight[ids]
    by_choice = [((values[ids] - now) * gradient).sum(dim=(1, 2)) for values in tensor.values.unbind(dim=1)]
    moves: Moves = torch.stack(by_choice, dim=-1)[:, None].cpu().numpy()
    return moves
