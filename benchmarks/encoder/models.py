"""Packed models of a given shape and width with random weights, without training: they take as long as trained ones.

A spec is that of the recipe which trains the width, so quantization points, grids and kinds of scales are those of
models with a row in the accuracy table. A model that has been made before is used again.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification

from bitbert.bench.workload import random_workload
from bitbert.checkpoint import write
from bitbert.checkpoint.packed import group_count
from bitbert.freeze import freeze
from bitbert.prepare import prepare
from bitbert.recipes.schema import Recipe, default_recipe, load_recipe
from bitbert.spec import Override, QuantSpec
from bitbert.training.calibrate import calibrate

SHAPES: dict[str, dict[str, int]] = {
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "minilm": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
}
SEED = 0
CALIBRATION = (4, 128)  # sequences x tokens


@dataclass(frozen=True)
class Model:
    """One packed model: a shape, a width, how many layers (None: those of the shape), whether half is pruned."""

    shape: str
    bits: str
    layers: int | None = None
    pruned: bool = False

    @property
    def name(self) -> str:
        layers = f"-{self.layers}layers" if self.layers else ""
        return f"{self.shape}{layers}-{self.bits}{'-pruned' if self.pruned else ''}"

    @property
    def config(self) -> dict[str, Any]:
        sizes = SHAPES[self.shape]
        return sizes | {"num_hidden_layers": self.layers or sizes["num_hidden_layers"]}


def recipe_of(bits: str) -> Recipe:
    """The recipe that trains a width."""
    return load_recipe(default_recipe(bits), bits=bits)


def packed(model: Model, directory: Path) -> Path:
    """The packed directory of `model` below `directory`, made now unless it is there."""
    path = directory / model.name
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        _make(model, path)
    return path


@torch.no_grad()
def _make(model: Model, path: Path) -> None:
    """Prepare, calibrate on random tokens, freeze, write."""
    torch.manual_seed(SEED)
    stock = BertForSequenceClassification(BertConfig(**model.config)).eval()
    recipe = recipe_of(model.bits)
    spec = recipe.spec(model.bits)
    if model.pruned:
        spec = half_pruned(spec, model.config)
    prepare(stock, spec)
    batch = random_workload(CALIBRATION, stock.config.vocab_size, SEED).batches[0]
    shown = {name: torch.from_numpy(value) for name, value in batch.padded().items()}
    calibrate(stock, [shown], recipe.calibration)
    write(freeze(stock, spec), path)


def half_pruned(spec: QuantSpec, config: dict[str, int]) -> QuantSpec:
    """The same spec with every other row group of each linear layer pruned, those of Q, K and V within each head."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    head_dim = hidden // config["num_attention_heads"]
    groups = {
        "encoder.layer.*.attention.self.*.weight": group_count(hidden, head_dim),
        "encoder.layer.*.output.dense.weight": group_count(hidden, None),
        "encoder.layer.*.intermediate.dense.weight": group_count(inner, None),
    }
    bits = spec.weights["linear"].bits
    pruned = [
        Override(tensors, {"group_bits": tuple(np.resize([bits, 0], count).tolist()), "granularity": "row_group"})
        for tensors, count in groups.items()
    ]
    return dataclasses.replace(spec, overrides=(*spec.overrides, *pruned))
