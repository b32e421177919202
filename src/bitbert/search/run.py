"""A search from end to end: a fine-tuned model, data and a budget -> a directory with spec, report and picture."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel, set_seed

from bitbert.checkpoint.atomic import check_replaceable, new_directory
from bitbert.errors import SearchError
from bitbert.recipes.schema import Recipe, load_recipe
from bitbert.search import differentiable
from bitbert.search.allocate import allocate, total
from bitbert.search.budget import Budget, Prices
from bitbert.search.joint import refined
from bitbert.search.mixed import MixedModel
from bitbert.search.picture import picture
from bitbert.search.size import file_bytes
from bitbert.search.space import DEFAULT_CHOICES, Bits, Space
from bitbert.spec import MAX_BITS, WEIGHT_KINDS, QuantSpec, parse_bits
from bitbert.training.data import TaskData, task_data
from bitbert.training.encode import default_length, digest, encode, some_batches
from bitbert.training.models import load_finetuned, load_tokenizer
from bitbert.training.results import machine
from bitbert.training.work import work_directory
from bitbert.watch import Watch

SPEC, REPORT, PICTURE = "spec.json", "search.json", "bits.svg"
BATCH_SIZE = 32  # of calibration; a text costs the same in any batch

Values = NDArray[np.float64]
Method = Literal["sensitivity", "aq"]


@dataclass(frozen=True)
class Plan:
    """How a search is done. `recipe` gives the quantizers of the spec, and the widths of activations.

    `texts` are training texts shown to the model by `sensitivity`, where `aq` starts; `aq` are settings of that method.
    """

    method: Method = "sensitivity"
    choices: tuple[int, ...] = DEFAULT_CHOICES
    recipe: str = "w2a8"
    embedding_bits: int = 8
    search_embeddings: bool = False
    texts: int = 512
    aq: differentiable.Settings = dataclasses.field(default_factory=differentiable.Settings)
    seed: int = 42
    max_length: int | None = None


def search(
    model: str | Path,
    task: str | TaskData,
    output: str | Path,
    budget: Budget,
    plan: Plan | None = None,
    *,
    data_dir: Path | None = None,
    download: bool = False,
    work_dir: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    watch: Watch = lambda *_: None,
    checkpoint_seconds: float = differentiable.SECONDS,
) -> dict[str, Any]:
    """Find the widths of `model`, fine-tuned for `task`, and write them to the directory `output`.

    It holds `spec.json` (a `QuantSpec` to train), `search.json` (the report, which is returned) and `bits.svg`. The
    method `aq` keeps checkpoints in `work_dir` (default: `output` with `.work` behind its name) and goes on from the
    last one with `resume`. Raises `BitbertError` for whatever the caller can mend, before any work where possible.
    """
    plan, output, began = plan or Plan(), Path(os.path.abspath(output)), time.perf_counter()
    check_target(output, overwrite)
    recipe = load_recipe(plan.recipe)
    data = task_data(task, data_dir=data_dir, download=download)
    set_seed(plan.seed)
    tokenizer = load_tokenizer(model, download=download)
    floats = load_finetuned(model, data.task, download=download)
    space = _space(floats, recipe, plan, budget)
    prices = budget.prices(space)
    length = min(plan.max_length or default_length(data.task), floats.config.max_position_embeddings)
    train = encode(data.split("train"), data.task, tokenizer, length)
    about = _about(model, data, budget, plan) | {"max_length": length}
    learns = plan.method == "aq"
    settings = about | {"data": digest(train)}
    work = work_directory(output, work_dir, settings, resume=resume, overwrite=overwrite) if learns else nullcontext()
    with work as path:
        batches = some_batches(train, tokenizer, BATCH_SIZE, -(-plan.texts // BATCH_SIZE), plan.seed)
        least, most = budget.left(prices)
        mixed = MixedModel(floats, space, watch=watch)
        found = refined(mixed, batches, prices.values, (least, most), seed=plan.seed, watch=watch)
        chosen, costs, told = found.chosen, found.alone, {"divergence": found.divergence}
        if path is not None:
            costs = differentiable.search(
                floats,
                load_finetuned(model, data.task, download=download),
                train,
                tokenizer,
                space,
                differentiable.Target(prices.values, most, found.beside),
                plan.aq,
                path / "search",
                seed=plan.seed,
                calibration=recipe.calibration,
                watch=watch,
                checkpoint_seconds=checkpoint_seconds,
            )
            chosen, told = allocate(costs, prices.values, most, least), {}
        bits = space.bits(chosen)
        report = about | _result(space, bits, costs, prices, budget, told)
        report |= {"seconds": round(time.perf_counter() - began, 1), "machine": machine()}
        _write(output, space, bits, report, overwrite)
    return report | {"output": str(output)}


def check_target(output: Path, overwrite: bool) -> None:
    """Raise `CheckpointError` unless a search may write the directory `output`."""
    check_replaceable(output, overwrite, lambda path: (path / REPORT).is_file(), "holds no search")


def _space(model: PreTrainedModel, recipe: Recipe, plan: Plan, budget: Budget) -> Space:
    if plan.search_embeddings and (plan.method == "aq" or budget.unit != "MiB"):
        raise SearchError("embeddings are searched by the method sensitivity under a budget in MiB only")
    config = model.config.to_dict() | {"architectures": [type(model).__name__]}
    return Space.of(config, _base(recipe, plan.embedding_bits), plan.choices, plan.search_embeddings)


def _base(recipe: Recipe, embedding_bits: int) -> QuantSpec:
    """The recipe's quantizers: of tables as at their width, of matrices as at one that all methods have."""
    activation_bits = parse_bits(recipe.bits)[1]
    matrices, tables = (recipe.spec(f"w{bits}a{activation_bits}") for bits in (MAX_BITS, embedding_bits))
    by_kind = {kind: (tables if kind.endswith("embedding") else matrices).weights[kind] for kind in WEIGHT_KINDS}
    return dataclasses.replace(matrices, weights=by_kind)


def _about(model: str | Path, data: TaskData, budget: Budget, plan: Plan) -> dict[str, Any]:
    """What was asked for; settings of the method `aq` only where it is the one."""
    settings = dataclasses.asdict(plan) | {"choices": list(plan.choices)}
    if plan.method != "aq":
        settings.pop("aq")
    return {
        "model": str(model),
        "task": data.task.name,
        "budget": {"unit": budget.unit, "limit": budget.limit},
        **settings,
    }


def _result(
    space: Space, bits: Bits, costs: Values, prices: Prices, budget: Budget, told: Mapping[str, float]
) -> dict[str, Any]:
    chosen = np.searchsorted(space.choices, bits)
    measured = {} if budget.clock is None else {"measured": {"ms": budget.clock.measure(space, bits)}}
    return measured | {
        "predicted": {
            budget.unit: (total(prices.values, chosen) + prices.fixed) / prices.per_unit,
            "bytes": file_bytes(space.architecture, space.spec(bits)),
            "average_bits": space.average_bits(bits),
            "cost": total(costs, chosen),
            **told,
        },
        "tensors": {name: _summary(space, bits[where], costs[where]) for name, where in space.slices.items()},
    }


def _summary(space: Space, bits: Bits, costs: Values) -> dict[str, Any]:
    """Of one tensor: row groups by width, and what the whole of it would cost at each width (null: not allowed)."""
    by_width = costs.sum(axis=0)
    return {
        "groups": {str(width): int((bits == width).sum()) for width in space.choices},
        "cost": {str(w): float(c) if np.isfinite(c) else None for w, c in zip(space.choices, by_width, strict=True)},
    }


def _write(output: Path, space: Space, bits: Bits, report: Mapping[str, Any], overwrite: bool) -> None:
    predicted, limit = report["predicted"], report["budget"]
    caption = (
        f"{report['task']}, {limit['limit']:g} {limit['unit']}, {report['method']}: "
        f"{predicted['average_bits']:.2f} bits on average, {predicted['bytes'] / 2**20:.2f} MiB"
    )
    with new_directory(output, replace=overwrite) as path:
        (path / SPEC).write_text(_json(space.spec(bits).to_json()), encoding="utf-8")
        (path / REPORT).write_text(_json(report), encoding="utf-8")
        (path / PICTURE).write_text(picture(space, bits, caption), encoding="utf-8")


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, allow_nan=False) + "\n"
