"""What each width of each item costs: the estimated divergence from the float model when it alone is quantized.

Let z be the logits of a text, g = J^T s with J = dz/dw and s the random direction of `divergence.py`, whose E[s s^T] is
the second derivative H of the divergence D by z. At the float model D and its gradient are 0, so to second order (the
Gauss-Newton matrix J^T H J is the Hessian there, and the Fisher matrix of the model's own answers) a change d costs

    D(w + d) = 1/2 d^T J^T H J d = 1/2 E[(g^T d)^2]

with the mean over texts and s. Here d = Q(w) - w for the rows of an item, or -w and minus its bias where it is pruned.
One backward pass for each batch gives every item and width: g^T d is the gradient at a layer's output times what d adds
to that output, so no gradient of a weight is ever formed. The more usual diagonal, 1/2 sum_w E[g_w^2] d_w^2 (LeCun et
al. 1990), leaves out what the errors of one row have in common. `first_order` is E[|g^T d|], how far the answer moves.

Costs are added over items, as if one's error knew nothing of another's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn
from transformers import PreTrainedModel

from bitbert.prepare import base_model
from bitbert.search.divergence import Batch, answers, divergence, random_direction
from bitbert.search.quantized import Groups, change
from bitbert.search.space import Space
from bitbert.spec import row_groups, tensor_kind
from bitbert.watch import Watch, watched

Values = NDArray[np.float64]

ESTIMATES: dict[str, Callable[[Tensor], Tensor]] = {
    "second_order": lambda product: product.square() / 2,
    "first_order": torch.abs,
}


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
    model.eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    parts = [_part(model, name, space) for name in watched(list(space.slices), "quantizing", watch)]
    costs, texts = np.zeros(space.allowed.shape), 0
    with _recording(model) as recorded:
        for batch in watched(batches, "sensitivity", watch):
            passed = _Passed(model, batch, recorded, generator)
            for part in parts:
                costs[part.where] += ESTIMATES[estimate](part.products(passed)).sum(dim=0).double().numpy()
            texts += len(batch["input_ids"])
    return np.where(space.allowed, costs / texts, np.inf)


def measured(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    space: Space,
    pairs: Sequence[tuple[int, int]],
    *,
    watch: Watch = lambda *_: None,
) -> Values:
    """(pairs): the true divergence, mean over texts, with only item i of each (i, j) quantized, to choice j."""
    model.eval().requires_grad_(False)
    with torch.no_grad():
        reference = [answers(model, batch) for batch in batches]
        found = []
        for item, choice in watched(pairs, "measuring", watch):
            with _quantized(model, space, item, choice):
                found.append(_mean_divergence(model, batches, reference))
    return np.array(found)


def rank_correlation(estimated: Values, true: Values) -> float:
    """Spearman's."""
    return float(stats.spearmanr(estimated, true).statistic)


# ---- what passes through the float model -----------------------------------------------------------------------------

_EMBEDDINGS = "embeddings.LayerNorm"


class _Passed:
    """Inputs, outputs and gradients at the outputs of every layer for one batch.

    `gradients` are those of s^T z, text by text: (texts, tokens, rows), a pooler's (texts, 1, rows). The sum of the
    three embeddings counts as the output of `embeddings.LayerNorm`'s input.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        batch: Batch,
        recorded: dict[str, tuple[Tensor, Tensor]],
        generator: torch.Generator,
    ) -> None:
        logits = answers(model, batch)
        direction = random_direction(logits.detach(), generator)
        found = torch.autograd.grad((logits * direction).sum(), [output for _, output in recorded.values()])
        self.batch = batch
        self.inputs = {name: _by_token(x.detach()) for name, (x, _) in recorded.items()}
        self.outputs = {name: _by_token(y.detach()) for name, (_, y) in recorded.items()}
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


@dataclass(frozen=True)
class _Matrix:
    """A linear layer: `changes` by choice, (rows, columns) or None where pruned; `group_of_row` numbers its items."""

    module: str
    where: slice
    changes: Sequence[Tensor | None]
    group_of_row: Tensor

    def products(self, passed: _Passed) -> Tensor:
        """(texts, items, choices): g^T d."""
        gradient = passed.gradients[self.module]
        by_row = torch.stack([(self._added(d, passed) * gradient).sum(dim=1) for d in self.changes], dim=-1)
        items = by_row.new_zeros(len(by_row), self.where.stop - self.where.start, by_row.shape[-1])
        return items.index_add_(1, self.group_of_row, by_row).cpu()

    def _added(self, change: Tensor | None, passed: _Passed) -> Tensor:
        """What the change adds to the output; pruning takes all of it away, the bias too."""
        return -passed.outputs[self.module] if change is None else passed.inputs[self.module] @ change.t()


@dataclass(frozen=True)
class _Table:
    """An embedding table, one item: `changes` by choice, (rows, columns); `ids` finds the rows that a batch uses."""

    where: slice
    changes: Sequence[Tensor | None]
    ids: Callable[[Batch], Tensor]

    def products(self, passed: _Passed) -> Tensor:
        """(texts, 1, choices): g^T d."""
        ids, gradient = self.ids(passed.batch), passed.gradients[_EMBEDDINGS]
        ids, nothing = ids.to(gradient.device), gradient.new_zeros(len(gradient))  # a table is not pruned
        by_choice = [nothing if d is None else (d[ids] * gradient).sum(dim=(1, 2)) for d in self.changes]
        return torch.stack(by_choice, dim=-1)[:, None].cpu()


_IDS: dict[str, Callable[[Batch], Tensor]] = {
    "embeddings.word_embeddings": lambda batch: batch["input_ids"],
    "embeddings.token_type_embeddings": lambda batch: batch["token_type_ids"],
    "embeddings.position_embeddings": lambda batch: torch.arange(batch["input_ids"].shape[1]),
}


def _part(model: PreTrainedModel, name: str, space: Space) -> _Matrix | _Table:
    module, where = name.removesuffix(".weight"), space.slices[name]
    weight = base_model(model).get_parameter(name)
    groups = row_groups(len(weight), space.architecture.weight_head_dim(name))
    changes = [_change(weight, bits, space, name, groups) if bits else None for bits in space.choices]
    if module in _IDS:
        return _Table(where, changes, _IDS[module])
    group_of_row = torch.repeat_interleave(torch.tensor([rows for _, rows in groups]))
    return _Matrix(module, where, changes, group_of_row.to(weight.device))


def _change(weight: Tensor, bits: int, space: Space, name: str, groups: Groups) -> Tensor:
    """As the spec of the search would have it: a step for each row group, for each row of a table."""
    granularity = "row" if tensor_kind(name).endswith("embedding") else "row_group"
    return change(weight, bits, groups, grid=space.base.weight(name).grid, granularity=granularity)


# ---- the truth -------------------------------------------------------------------------------------------------------


@contextmanager
def _quantized(model: PreTrainedModel, space: Space, index: int, choice: int) -> Iterator[None]:
    """The model with one item at one of the choices; its weights are put back afterwards."""
    item, bits = space.items[index], space.choices[choice]
    layer = base_model(model).get_submodule(item.tensor.removesuffix(".weight"))
    rows = slice(item.first, item.first + item.rows)
    touched = [p[rows] for p in (layer.weight, getattr(layer, "bias", None)) if isinstance(p, Tensor)]
    before = [part.clone() for part in touched]
    if bits == 0:
        for part in touched:
            part.zero_()
    else:
        touched[0] += _change(touched[0], bits, space, item.tensor, [(0, item.rows)])
    try:
        yield
    finally:
        for part, values in zip(touched, before, strict=True):
            part.copy_(values)


def _mean_divergence(model: PreTrainedModel, batches: Sequence[Batch], reference: Sequence[Tensor]) -> float:
    """Divergence summed over the rows of a text, mean over texts."""
    pairs = zip(batches, reference, strict=True)
    total = sum(float(divergence(answers(model, batch), logits).sum()) for batch, logits in pairs)
    return total / sum(len(batch["input_ids"]) for batch in batches)
