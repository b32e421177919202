"""`bitbert.quantize`: a fine-tuned float checkpoint + data -> a packed directory, trained by a recipe and measured."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from datasets import Dataset, concatenate_datasets
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from bitbert.cache import cache_directory
from bitbert.checkpoint.write import check_target
from bitbert.errors import RecipeError
from bitbert.prepare import check_fits
from bitbert.recipes.schema import Recipe, Stage, default_recipe, load_recipe
from bitbert.spec import QuantSpec, read_spec
from bitbert.training.augment import augmented
from bitbert.training.data import TaskData, task_data
from bitbert.training.encode import default_length, digest, encode, some_batches
from bitbert.training.migrate import migrate, migrated
from bitbert.training.models import check_teacher, keep_layers, load_finetuned, load_tokenizer
from bitbert.training.progression import Progression
from bitbert.training.recombine import recombined
from bitbert.training.results import deliver
from bitbert.training.work import work_directory

MIXED = "w2a8"  # the recipe that trains a spec of mixed widths unless another is named


def quantize(
    model: str | Path,
    task: str | TaskData,
    output: str | Path,
    *,
    bits: str | None = None,
    recipe: str | Path | None = None,
    settings: Sequence[str] = (),
    spec: str | Path | QuantSpec | None = None,
    teacher: str | Path | None = None,
    layers: int | None = None,
    seed: int = 42,
    max_length: int | None = None,
    data_dir: Path | None = None,
    download: bool = False,
    work_dir: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    report_to: str = "none",
    checkpoint_seconds: float | None = None,
) -> dict[str, Any]:
    """Train `model` at width `bits` on the task's train split and write the packed result to `output`.

    `model` is a fine-tuned model for the task: a local directory, or a hub name with `download`. `recipe` is the
    method (by name or YAML file; default: by the width) and `settings` change its fields, such as `"epochs=1"`; `bits`
    (wXaY) defaults to the recipe's own width, without a recipe to w8a8; `spec` (a file such as `bitbert search` writes)
    takes the place of both. The model learns from itself, or from another `teacher` fine-tuned for the task; with
    `layers`, only so many of its layers are kept, evenly spaced. Texts are cut at `max_length` tokens (default: 128),
    contexts are read in windows of so many (default: 384). Scores on the held-out splits come from the engine that
    will serve the model. Returns the report that is also written as `report.json`.

    A run that was killed goes on from its last checkpoint with `resume`, to the same weights; there is one every
    `checkpoint_seconds` (default: as often as costs no more than a fiftieth of the time). `report_to="tensorboard"`
    writes events beside `output`, with `.runs` behind its name. Raises `BitbertError` for whatever the caller can mend,
    before any training where possible.
    """
    output = Path(os.path.abspath(output))
    chosen = load_recipe(recipe or (default_recipe(bits or "w8a8") if spec is None else MIXED), settings, bits)
    check_target(output, overwrite)
    data = task_data(task, data_dir=data_dir, download=download)
    set_seed(seed)
    tokenizer = load_tokenizer(model, download=download)

    def fresh() -> PreTrainedModel:
        return keep_layers(load_finetuned(model, data.task, download=download), layers)

    first = fresh()
    config = first.config
    wanted = _specs(chosen, bool(bits), spec, config.num_hidden_layers)
    check_fits(first, wanted(None))
    teacher_model = load_finetuned(teacher or model, data.task, download=download, scores=True)
    check_teacher(teacher_model.config, config, chosen)
    max_length = min(max_length or default_length(data.task), config.max_position_embeddings)
    rows = _rows(data, model, tokenizer, max_length, seed, progress)
    for stage in chosen.stages:
        rows(stage)  # what cannot be augmented is said before any training
    run = {
        "model": str(model),
        "teacher": str(teacher or model),
        "task": data.task.name,
        "bits": "spec" if spec else chosen.bits,
        "layers": config.num_hidden_layers,
        "seed": seed,
        "max_length": max_length,
    }
    same = run | {"recipe": chosen.model_dump(), "spec": wanted(None).to_json(), "data": digest(rows(None))}
    if chosen.migration:
        how = chosen.calibration
        batches = some_batches(rows(None), tokenizer, how.batch_size, how.batches, seed)
        fresh, teacher_model = migrated(fresh, batches), migrate(teacher_model, batches)
    stages = Progression(chosen, fresh, teacher_model, rows, wanted, tokenizer, seed)
    title = " ".join(dict.fromkeys([chosen.name, run["bits"]])) if progress else None
    logs = output.with_name(output.name + ".runs")
    with work_directory(output, work_dir, same, resume=resume, overwrite=overwrite) as work:
        student, results = stages.run(work, title, logs, report_to=report_to, checkpoint_seconds=checkpoint_seconds)
        report = run | {
            "rows": len(data.split("train")),
            "recipe": chosen.name,
            "calibration": chosen.calibration.model_dump(),
            "migration": chosen.migration,
            "stages": results,
        }
        report = deliver(
            student, wanted(None), tokenizer, teacher or model, data, report, output, work=work, overwrite=overwrite
        )
    return report | {"output": str(output)}


def _specs(
    recipe: Recipe, uniform: bool, spec: str | Path | QuantSpec | None, num_layers: int
) -> Callable[[Stage | None], QuantSpec]:
    """What a stage is trained at, None being the result, which must be one that can be packed.

    `uniform`: one width was asked for.
    """
    if spec is None:
        final = recipe.spec(num_layers=num_layers)
        recipe.check_overrides(final, num_layers)
    elif uniform or any(stage.bits for stage in recipe.stages):
        raise RecipeError(
            "a spec says all widths: give no bits beside it, and a recipe whose stages have none of their own"
        )
    else:
        final = spec if isinstance(spec, QuantSpec) else read_spec(Path(spec))
    final.check_packable(num_layers, pooler=True)
    return lambda stage: recipe.spec_of(stage, num_layers) if stage and stage.bits else final


def _rows(
    data: TaskData,
    model: str | Path,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    seed: int,
    progress: bool,
) -> Callable[[Stage | None], Dataset]:
    """A stage -> the train split with what the stage adds to it, encoded; None adds nothing."""
    train = data.split("train")

    def how(title: str) -> dict[str, Any]:
        return {"seed": seed, "title": title if progress else None}

    @cache
    def encoded(copies: int, pairs: int) -> Dataset:
        rows = [train]
        if copies:
            rows.append(
                augmented(train, data.task, model, copies=copies, cache=cache_directory(), **how("augmentation"))
            )
        if pairs:
            rows.append(recombined(train, copies=pairs, **how("new pairs")))
        return encode(concatenate_datasets(rows), data.task, tokenizer, max_length)

    return lambda stage: encoded(stage.copies, stage.recombined) if stage else encoded(0, 0)
