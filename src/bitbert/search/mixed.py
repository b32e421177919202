"""A float model whose searched tensors can be put at any widths, without training: what a search asks and measures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from bitbert.prepare import base_model
from bitbert.search.divergence import Batch, answers, divergence
from bitbert.search.quantized import change
from bitbert.search.space import Space
from bitbert.spec import row_groups, tensor_kind
from bitbert.watch import Watch, watched

Choice = NDArray[np.int64]


class MixedModel:
    """`model`, which must be the float one, with every tensor of `space` kept at every choice beside the original."""

    def __init__(self, model: PreTrainedModel, space: Space, *, watch: Watch = lambda *_: None) -> None:
        """`watch` hears of every tensor that was quantized."""
        self.model, self.space = model.eval().requires_grad_(False), space
        self.tensors = [_tensor(model, name, space) for name in watched(list(space.slices), "quantizing", watch)]

    def put(self, chosen: Choice) -> None:
        """Set every item to the choice of its index; (items)."""
        for tensor in self.tensors:
            tensor.put(chosen[tensor.where])

    def put_floats(self) -> None:
        """Set all back to what the model came with."""
        for tensor in self.tensors:
            tensor.put_floats()

    @contextmanager
    def one(self, item: int, choice: int) -> Iterator[None]:
        """The float model with one item at one of the choices."""
        tensor = next(t for t in self.tensors if t.where.start <= item < t.where.stop)
        tensor.put_rows(tensor.item_of_row == item - tensor.where.start, choice)
        try:
            yield
        finally:
            tensor.put_floats()

    @torch.no_grad()
    def answers(self, batches: Sequence[Batch]) -> list[Tensor]:
        """The logits of the model as it is now."""
        return [answers(self.model, batch) for batch in batches]

    def divergence_at(self, chosen: Choice, batches: Sequence[Batch], reference: Sequence[Tensor]) -> float:
        """Put every item to the choice of its index, and measure `divergence`."""
        self.put(chosen)
        return self.divergence(batches, reference)

    def divergence(self, batches: Sequence[Batch], reference: Sequence[Tensor]) -> float:
        """Of the model as it is now: summed over the rows of a text, mean over texts."""
        pairs = zip(self.answers(batches), reference, strict=True)
        return sum(float(divergence(*pair).sum()) for pair in pairs) / sum(len(b["input_ids"]) for b in batches)


@dataclass(frozen=True)
class MixedTensor:
    """A tensor of the space: `values` (rows, choices, columns) and `biases` (rows, choices), 0 where pruned.

    `weight` and `bias` are the model's own and change; `floats` are what they were. A table has no biases.
    """

    name: str
    where: slice
    weight: Tensor
    bias: Tensor | None
    floats: tuple[Tensor, Tensor | None]
    values: Tensor
    biases: Tensor | None
    item_of_row: Tensor

    def put(self, chosen: Choice) -> None:
        """Set its items to the choices of these indices."""
        choice_of_row = torch.from_numpy(chosen).to(self.item_of_row.device)[self.item_of_row]
        for choice in np.unique(chosen).tolist():
            self.put_rows(choice_of_row == choice, choice)

    def put_rows(self, rows: Tensor, choice: int) -> None:
        """Set some rows to one choice."""
        self.weight[rows] = self.values[rows, choice]
        if self.bias is not None and self.biases is not None:
            self.bias[rows] = self.biases[rows, choice]

    def put_floats(self) -> None:
        """Set all of it back."""
        weight, bias = self.floats
        self.weight.copy_(weight)
        if self.bias is not None and bias is not None:
            self.bias.copy_(bias)


def _tensor(model: PreTrainedModel, name: str, space: Space) -> MixedTensor:
    """With steps that fit best, as many as the spec to come will have."""
    layer = base_model(model).get_submodule(name.removesuffix(".weight"))
    weight, bias = layer.get_parameter("weight"), getattr(layer, "bias", None)
    groups = row_groups(len(weight), space.architecture.weight_head_dim(name))
    is_table = tensor_kind(name).endswith("embedding")
    grid, granularity = space.base.weight(name).grid, space.granularity(name)
    zeros = torch.zeros_like(weight)
    values = [
        weight + change(weight, bits, groups, grid=grid, granularity=granularity) if bits else zeros
        for bits in space.choices
    ]
    kept = torch.tensor([float(bits > 0) for bits in space.choices], device=weight.device)
    biases = None if bias is None else bias[:, None] * kept
    rows_of_item = torch.tensor([len(weight)] if is_table else [rows for _, rows in groups])
    item_of_row = torch.repeat_interleave(rows_of_item).to(weight.device)
    floats = (weight.clone(), None if bias is None else bias.clone())
    by_choice = torch.stack(values, dim=1)
    return MixedTensor(name, space.slices[name], weight, bias, floats, by_choice, biases, item_of_row)
