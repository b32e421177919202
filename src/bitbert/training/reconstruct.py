"""Post-training quantization block by block: each block of the fake-quantized model learns to give what the float one's
gives, without labels.

The blocks are the embeddings, every layer and the pooler, in this order. A block f with the quantized blocks before it
already trained minimises over its weights and its scales, real tokens only,

    mean |f(x) - f_float(x_float)|^2

where x is what the *quantized* blocks before it give and x_float what the float ones give, so that each block also
mends what those before it have left (the sequential form of MREM, Bai et al. 2022, and of BRECQ, Li et al. 2021). As in
ZeroQuant's layer-by-layer distillation (Yao et al. 2022) weights are learned, at a small rate, and not their rounding.
A block whose error would not fall stays as it was calibrated.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from bitbert.prepare import base_model
from bitbert.recipes.schema import Reconstruction
from bitbert.training.distill import hidden_loss
from bitbert.training.parameters import PositiveScales, parameter_kind
from bitbert.training.progress import counted
from bitbert.training.trainer import bfloat16_is_fast

Batch = dict[str, Tensor]
Run = Callable[[nn.Module, Batch, Tensor], Tensor]
"""Calls a block: with a batch of texts, and what the block before it gave."""


@dataclass(frozen=True)
class Block:
    """One block of the quantized model beside the same of the float one."""

    name: str
    ours: nn.Module
    float32: nn.Module
    run: Run


def reconstruct(
    model: PreTrainedModel,
    float32: PreTrainedModel,
    batches: Sequence[Batch],
    settings: Reconstruction,
    *,
    seed: int,
    title: str | None = None,
) -> list[dict[str, Any]]:
    """Train the prepared and calibrated `model` in place, from `batches` of token ids; `float32` is what it came from.

    Only the outputs of one block of either model are held at a time. `title` names a progress bar (None: no bar).
    Returns for each block its name and its mean squared error before and after.
    """
    model.eval()
    float32.eval()
    blocks = list(_blocks(base_model(model), base_model(float32)))
    batches = [{name: x.to(model.device) for name, x in batch.items()} for batch in batches]
    inputs = targets = [batch["input_ids"] for batch in batches]
    generator, errors = torch.Generator().manual_seed(seed), []
    with counted(title, len(blocks) * settings.steps, "steps") as advance:
        for block in blocks:
            targets = _outputs(block.run, block.float32, batches, targets)
            before, start = _error(block, batches, inputs, targets), copy.deepcopy(block.ours.state_dict())
            _train(block, batches, inputs, targets, settings, generator, advance)
            after = _error(block, batches, inputs, targets)
            if not after < before:
                block.ours.load_state_dict(start)
            errors.append({"block": block.name, "before": before, "after": min(before, after)})
            inputs = _outputs(block.run, block.ours, batches, inputs)
    return errors


def _blocks(ours: nn.Module, float32: nn.Module) -> Iterator[Block]:
    names: list[tuple[str, Run]] = [("embeddings", _run_embeddings)]
    names += [(f"encoder.layer.{name}", _run_layer) for name, _ in ours.get_submodule("encoder.layer").named_children()]
    names += [("pooler", _run_pooler)] if getattr(ours, "pooler", None) is not None else []
    for name, run in names:
        yield Block(name, ours.get_submodule(name), float32.get_submodule(name), run)


def _run_embeddings(block: nn.Module, batch: Batch, _: Tensor) -> Tensor:
    hidden: Tensor = block(input_ids=batch["input_ids"], token_type_ids=batch["token_type_ids"])
    return hidden


def _run_layer(block: nn.Module, batch: Batch, hidden: Tensor) -> Tensor:
    # What is added to the scores: (B, T) -> (B, 1, 1, T), 0 for tokens and the lowest float for padding.
    mask = (1.0 - batch["attention_mask"].float())[:, None, None, :] * torch.finfo(torch.float32).min
    output: Tensor = block(hidden, mask)
    return output


def _run_pooler(block: nn.Module, batch: Batch, hidden: Tensor) -> Tensor:
    pooled: Tensor = block(hidden)
    return pooled


@torch.no_grad()
def _outputs(run: Run, block: nn.Module, batches: Sequence[Batch], inputs: Sequence[Tensor]) -> list[Tensor]:
    return [run(block, batch, x) for batch, x in zip(batches, inputs, strict=True)]


def _loss(output: Tensor, target: Tensor, batch: Batch) -> Tensor:
    """Mean squared error: of (batch, tokens, features) without padding, of (batch, features) of a pooler."""
    if output.dim() == 2:
        return nn.functional.mse_loss(output, target)
    return hidden_loss([output], [target], batch["attention_mask"])


@torch.no_grad()
def _error(block: Block, batches: Sequence[Batch], inputs: Sequence[Tensor], targets: Sequence[Tensor]) -> float:
    triples = zip(batches, inputs, targets, strict=True)
    return float(torch.stack([_loss(block.run(block.ours, batch, x), y, batch) for batch, x, y in triples]).mean())


def _train(
    block: Block,
    batches: Sequence[Batch],
    inputs: Sequence[Tensor],
    targets: Sequence[Tensor],
    settings: Reconstruction,
    generator: torch.Generator,
    advance: Callable[..., None],
) -> None:
    optimizer = torch.optim.Adam(_parameter_groups(block.ours, settings))
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, settings.steps)
    scales = PositiveScales(block.ours)
    for number in _order(len(batches), settings.steps, generator):
        batch = batches[number]
        with torch.autocast(batch["input_ids"].device.type, torch.bfloat16, enabled=bfloat16_is_fast()):
            output = block.run(block.ours, batch, inputs[number])
        _loss(output.float(), targets[number], batch).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        scales.clamp_()
        advance()


def _order(batches: int, steps: int, generator: torch.Generator) -> list[int]:
    """Which batch each step takes: all of them in random order, then again."""
    rounds = [torch.randperm(batches, generator=generator) for _ in range(-(-steps // batches))]
    return torch.cat(rounds)[:steps].tolist()


def _parameter_groups(block: nn.Module, settings: Reconstruction) -> list[dict[str, Any]]:
    rates = {
        "weights": settings.learning_rate,
        "weight_scales": settings.weight_scale_learning_rate,
        "activation_scales": settings.activation_scale_learning_rate,
    }
    groups: dict[str, list[nn.Parameter]] = {name: [] for name in rates}
    for name, parameter in block.named_parameters():
        groups[parameter_kind(name)].append(parameter)
    return [{"params": groups[name], "lr": rate} for name, rate in rates.items() if groups[name]]
