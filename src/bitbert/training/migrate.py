"""Moving the mean of every unit out of what will be quantized, into the biases around it, before anything is trained.

Hidden units have means of their own, in later layers several standard deviations away from zero. A range that holds
them all spends its codes on telling units apart. With m the mean of each unit over real tokens, the bias of the layer
that gives x takes -m, and the model computes what it did before, since

    a linear layer that reads x has       bias + W m        (W (x - m) + b + W m = W x + b)
    a layer whose output x is added to    bias + m
    of values, attention's output has     bias + W m        (the probabilities of a query sum to 1)
    of keys there is nothing to mend                        (softmax ignores what all scores of a query have in common)

Channel-wise shifting of Outlier Suppression+ (Wei et al. 2023), with means in place of the middle of each range, and
for keys and values too. Its scaling is left out, as the residual sum could not take the inverse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from bitbert.prepare import base_model

Batch = dict[str, Tensor]


class Move(NamedTuple):
    """The layer that gives x, the linear layers that read x, and those to whose output x is added."""

    source: nn.Module
    readers: Sequence[nn.Module] = ()
    added: Sequence[nn.Module] = ()


def migrated(fresh: Callable[[], PreTrainedModel], batches: Sequence[Batch]) -> Callable[[], PreTrainedModel]:
    """`fresh`, with all models that it gives migrated alike."""
    weights = migrate(fresh(), batches).state_dict()

    def again() -> PreTrainedModel:
        model = fresh()
        model.load_state_dict(weights)
        return model

    return again


@torch.no_grad()
def migrate(model: PreTrainedModel, batches: Sequence[Batch]) -> PreTrainedModel:
    """Centre hidden states, keys and values of the float `model` in place; what it gives stays, up to rounding.

    `batches` of token ids and attention mask are what the means are taken over.
    """
    moves = list(_moves(model))
    means = _means(model, [move.source for move in moves], batches)
    for move, mean in zip(moves, means, strict=True):
        _bias(move.source).sub_(mean)
        for reader in move.readers:
            _bias(reader).add_(reader.get_parameter("weight") @ mean)
        for linear in move.added:
            _bias(linear).add_(mean)
    return model


def _moves(model: PreTrainedModel) -> Iterator[Move]:
    encoder = base_model(model)
    hidden = encoder.get_submodule("embeddings.LayerNorm")
    for layer in encoder.get_submodule("encoder.layer").children():
        query, key, value = (layer.get_submodule(f"attention.self.{part}") for part in ("query", "key", "value"))
        parts = ("attention.output", "intermediate", "output")
        attention_output, intermediate, output = (layer.get_submodule(f"{part}.dense") for part in parts)
        yield Move(hidden, [query, key, value], [attention_output])
        yield Move(key)
        yield Move(value, [attention_output])
        yield Move(layer.get_submodule("attention.output.LayerNorm"), [intermediate], [output])
        hidden = layer.get_submodule("output.LayerNorm")
    if model is not encoder:  # the last hidden states of a bare encoder are what it gives
        pooler = getattr(encoder, "pooler", None)
        yield Move(hidden, [next(x for x in (pooler or model).children() if isinstance(x, nn.Linear))])


def _means(model: PreTrainedModel, layers: Sequence[nn.Module], batches: Sequence[Batch]) -> list[Tensor]:
    """The mean of each unit that a layer gives, over real tokens."""
    sums = {layer: torch.zeros_like(_bias(layer), dtype=torch.float64) for layer in layers}
    tokens = 0

    def add(layer: nn.Module, _: object, output: Tensor) -> None:
        sums[layer] += output[real].sum(dim=0, dtype=torch.float64)

    hooks = [layer.register_forward_hook(add) for layer in layers]
    model.eval()
    for batch in batches:
        inputs = {name: x.to(model.device) for name, x in batch.items() if name != "labels"}
        real = inputs["attention_mask"].bool()
        tokens += int(real.sum())
        model(**inputs)
    for hook in hooks:
        hook.remove()
    return [(sums[layer] / tokens).float() for layer in layers]


def _bias(layer: nn.Module) -> Tensor:
    return layer.get_parameter("bias")
