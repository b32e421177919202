"""`bitbert.calibrate_only`: a float checkpoint + a few hundred texts -> a packed directory, without labels.

Post-training quantization: minutes instead of hours. Ranges are calibrated and, where the recipe says so, every block
is reconstructed; nothing is trained from end to end. `pipeline.py` is the other way, quantization-aware training.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from bitbert.checkpoint.write import check_target
from bitbert.errors import DataError, RecipeError
from bitbert.prepare import prepare
from bitbert.recipes.schema import Recipe, Reconstruction, load_recipe
from bitbert.training.calibrate import calibrate
from bitbert.training.data import TaskData, task_data
from bitbert.training.encode import LENGTH, default_length, encode, encode_unlabelled, some_batches
from bitbert.training.migrate import migrate
from bitbert.training.models import load_as_it_is, load_finetuned, load_tokenizer
from bitbert.training.reconstruct import reconstruct
from bitbert.training.results import deliver

RECIPE = "ptq"
DRAWN = 4  # times as many texts as are used; the longest of them have more of what ranges and weights must fit
Texts = Sequence[str] | Sequence[tuple[str, str]]


def calibrate_only(
    model: str | Path,
    output: str | Path,
    *,
    texts: Texts | None = None,
    task: str | TaskData | None = None,
    bits: str | None = None,
    recipe: str | Path = RECIPE,
    settings: Sequence[str] = (),
    seed: int = 42,
    max_length: int | None = None,
    data_dir: Path | None = None,
    download: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Quantize `model` at width `bits` from unlabelled `texts` (or pairs of them) and write it packed to `output`.

    `model` is a local directory (a hub name with `download`), with a head or without one. Without `texts` they come
    from the train split of `task`, whose labels are not looked at; `task` also says what is scored, through the engine:
    its held-out splits. `recipe` is one without stages, and `settings` change its fields. Calibration takes
    `calibration.batches` times `calibration.batch_size` texts: of four times as many, drawn at random, the longest.
    `bits` (wXaY) defaults to the recipe's. Texts are cut at `max_length` tokens (default: 128, contexts 384).

    Returns the report that is also written as `report.json`, with the `seconds` from the call until there was something
    to score. The same arguments give the same weights. Raises `BitbertError` for whatever the caller can mend.
    """
    started = time.perf_counter()
    output = Path(os.path.abspath(output))
    chosen = _load_recipe(recipe, settings, bits)
    check_target(output, overwrite)
    if texts is None and task is None:
        raise DataError("nothing to calibrate on: give texts (--texts FILE), a task (--task sst2) or --train-file")
    data = None if task is None else task_data(task, data_dir=data_dir, download=download)
    set_seed(seed)
    tokenizer = load_tokenizer(model, download=download)
    student, float32 = (_load(model, data, download) for _ in range(2))
    spec = chosen.spec(num_layers=student.config.num_hidden_layers)
    spec.check_packable(student.config.num_hidden_layers, pooler=True)
    chosen.check_overrides(spec, student.config.num_hidden_layers)
    longest = default_length(data.task) if data else LENGTH
    max_length = min(max_length or longest, student.config.max_position_embeddings)
    how = chosen.calibration
    encoded = _encoded(texts, data, how.batches * how.batch_size, tokenizer, max_length, seed)
    batches = some_batches(encoded, tokenizer, how.batch_size, how.batches, seed)
    if chosen.migration:
        student, float32 = (migrate(float_model, batches) for float_model in (student, float32))
    calibrate(prepare(student, spec), batches, how)
    title = f"{chosen.name} {chosen.bits}" if progress else None
    report = {
        "model": str(model),
        **({"task": data.task.name} if data else {}),
        "bits": chosen.bits,
        "seed": seed,
        "max_length": max_length,
        "recipe": chosen.name,
        "calibrated_on": sum(len(batch["input_ids"]) for batch in batches),
        "calibration": how.model_dump(),
        "migration": chosen.migration,
        "reconstruction": _reconstruct(student, float32, batches, chosen.reconstruction, seed, title),
        "seconds": round(time.perf_counter() - started, 1),
    }
    with tempfile.TemporaryDirectory() as work:
        report = deliver(student, spec, tokenizer, model, data, report, output, work=Path(work), overwrite=overwrite)
    return report | {"output": str(output)}


def _load_recipe(recipe: str | Path, settings: Sequence[str], bits: str | None) -> Recipe:
    chosen = load_recipe(recipe, settings, bits)
    if chosen.stages:
        raise RecipeError(f"recipe {chosen.name} has stages to train; calibration alone takes one without, such as ptq")
    return chosen


def _load(model: str | Path, data: TaskData | None, download: bool) -> PreTrainedModel:
    return load_finetuned(model, data.task, download=download) if data else load_as_it_is(model, download=download)


def _encoded(
    texts: Texts | None,
    data: TaskData | None,
    rows: int,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    seed: int,
) -> Dataset:
    """The longest `rows` (or fewer) of `DRAWN` times as many texts, or rows of the train split, as token ids."""
    generator = np.random.default_rng(seed)
    if texts is None:
        assert data is not None
        train = data.split("train")
        drawn = train.select(generator.permutation(len(train))[: DRAWN * rows])
        return _longest(encode(drawn, data.task, tokenizer, max_length), rows)
    if not texts:
        raise DataError("there are no texts to calibrate on: give a few hundred")
    picked: list[Any] = [texts[i] for i in generator.permutation(len(texts))[: DRAWN * rows]]
    columns = [picked] if isinstance(picked[0], str) else list(zip(*picked, strict=True))
    return _longest(encode_unlabelled(columns, tokenizer, max_length), rows)


def _longest(encoded: Dataset, rows: int) -> Dataset:
    return encoded.select(np.argsort(encoded["length"][:], kind="stable")[::-1][:rows])


def _reconstruct(
    student: PreTrainedModel,
    float32: PreTrainedModel,
    batches: Sequence[dict[str, Tensor]],
    settings: Reconstruction | None,
    seed: int,
    title: str | None,
) -> dict[str, Any] | None:
    """The resolved settings and the error of each block before and after; None where the recipe has no such part."""
    if settings is None:
        return None
    blocks = reconstruct(student, float32, batches, settings, seed=seed, title=title)
    return settings.model_dump() | {"blocks": blocks}
