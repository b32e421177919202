"""Specs of mixed widths for the accuracy table: found by a search of bitbert's, or the best of some at random.

The random ones give each layer of the encoder 2, 3 or 4 bits. They are drawn among the smallest that have at least the
bits on average that a search may spend, and the one whose answers are nearest to the float model's before any training,
on training texts, is taken: a baseline that has looked at the data as often as there are mixes.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np

from bitbert.recipes.schema import load_recipe
from bitbert.search.budget import Budget
from bitbert.search.divergence import Batch
from bitbert.search.mixed import MixedModel
from bitbert.search.run import Plan, search
from bitbert.search.space import Bits, Space
from bitbert.spec import parse_bits
from bitbert.training.data import TaskData
from bitbert.training.encode import default_length, encode, some_batches
from bitbert.training.models import load_finetuned, load_tokenizer

MIXES, LAYER_BITS, TEXTS = 20, (2, 3, 4), 512
# What a search chooses from, and the width of the tables; with a recipe for 1 bit all is as small as it gets.
USUAL: dict[str, Any] = {"choices": (1, 2, 3, 4), "embedding_bits": 4}
BINARY: dict[str, Any] = {"choices": (0, 1, 2), "embedding_bits": 1}


def found_by_search(
    method: Any, average_bits: float, recipe: str, teacher: Path, data: TaskData, seed: int, directory: Path
) -> tuple[Path, dict[str, Any]]:
    """(spec.json, what is told of it), from `directory` if it was searched already."""
    if not (directory / "search.json").exists():
        widths = BINARY if parse_bits(load_recipe(recipe).bits)[0] == 1 else USUAL
        plan = Plan(method=method, recipe=recipe, seed=seed, **widths)
        search(teacher, data, directory, Budget("average bits", average_bits), plan, resume=method == "aq")
    report = json.loads((directory / "search.json").read_text(encoding="utf-8"))
    return directory / "spec.json", {key: report[key] for key in ("predicted", "seconds", "choices")}


def best_at_random(
    average_bits: float, recipe: str, teacher: Path, data: TaskData, seed: int, directory: Path
) -> tuple[Path, dict[str, Any]]:
    """(spec.json, what is told of it)."""
    model, tokenizer = load_finetuned(teacher, data.task), load_tokenizer(teacher)
    train = encode(data.split("train"), data.task, tokenizer, default_length(data.task))
    batches = some_batches(train, tokenizer, 32, TEXTS // 32, seed)
    method = load_recipe(recipe)
    config = model.config.to_dict() | {"architectures": [type(model).__name__]}
    space = Space.of(config, method.spec(f"w4a{parse_bits(method.bits)[1]}"), LAYER_BITS)
    tried = [_by_layer(space, mix) for mix in draw(space.architecture.num_hidden_layers, average_bits, seed)]
    losses = measured(MixedModel(model, space), tried, batches)
    best = tried[int(np.argmin(losses))]
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "spec.json"
    path.write_text(json.dumps(space.spec(best).to_json()), encoding="utf-8")
    return path, {"predicted": {"average_bits": space.average_bits(best)}, "losses": losses}


def draw(layers: int, average_bits: float, seed: int) -> list[tuple[int, ...]]:
    """`MIXES` different ones, at random among the smallest that are not below `average_bits`."""
    mixes = sorted(itertools.product(LAYER_BITS, repeat=layers), key=sum)
    enough = [mix for mix in mixes if sum(mix) >= average_bits * layers]
    candidates = [mix for mix in enough if sum(mix) <= sum(enough[MIXES - 1])]
    chosen = np.random.default_rng(seed).choice(len(candidates), MIXES, replace=False)
    return [candidates[i] for i in chosen]


def _by_layer(space: Space, mix: tuple[int, ...]) -> Bits:
    """(items): the bits of its layer; the pooler has those of the last."""
    layers = [item.tensor.split(".")[2] if item.tensor.startswith("encoder") else "-1" for item in space.items]
    return np.array([mix[int(layer)] for layer in layers])


def measured(mixed: MixedModel, tried: list[Bits], batches: list[Batch]) -> list[float]:
    """Divergence of the answers from the float model's with all matrices at these widths, without training."""
    reference = mixed.answers(batches)
    return [mixed.divergence_at(np.searchsorted(mixed.space.choices, bits), batches, reference) for bits in tried]
