"""`bitbert.quantize`: a fine-tuned float checkpoint + data -> a packed directory, trained by a recipe and measured."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from bitbert.checkpoint.write import check_target
from bitbert.prepare import prepare
from bitbert.recipes.schema import Recipe, load_recipe
from bitbert.spec import parse_bits
from bitbert.training.calibrate import calibrate
from bitbert.training.data import TaskData, task_data
from bitbert.training.encode import BATCH, default_length, digest, encode, some_batches
from bitbert.training.models import load_finetuned, load_tokenizer
from bitbert.training.reconstruct import reconstruct
from bitbert.training.results import deliver
from bitbert.training.stages import run_stage
from bitbert.training.work import work_directory


def quantize(
    model: str | Path,
    task: str | TaskData,
    output: str | Path,
    *,
    bits: str | None = None,
    recipe: str | Path | None = None,
    settings: Sequence[str] = (),
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
    (wXaY) defaults to the recipe's own width, without a recipe to w8a8. Texts are cut at `max_length` tokens (default:
    128), contexts are read in windows of so many (default: 384). Scores on the held-out splits come from the
    engine that will serve the model. Returns the report that is also written as `report.json`.

    A run that was killed goes on from its last checkpoint with `resume`, to the same weights; there is one every
    `checkpoint_seconds` (default: as often as costs no more than a fiftieth of the time). `report_to="tensorboard"`
    writes events beside `output`, with `.runs` behind its name. Raises `BitbertError` for whatever the caller can mend,
    before any training where possible.
    """
    output = Path(os.path.abspath(output))
    chosen = load_recipe(recipe or default_recipe(bits or "w8a8"), settings)
    bits = bits or chosen.bits
    spec = chosen.spec(bits)
    check_target(output, overwrite)
    data = task_data(task, data_dir=data_dir, download=download)
    set_seed(seed)
    tokenizer = load_tokenizer(model, download=download)
    student = load_finetuned(model, data.task, download=download)
    spec.check_packable(student.config.num_hidden_layers, pooler=True)
    chosen.check_overrides(spec, student.config.num_hidden_layers)
    prepare(student, spec)
    teacher = load_finetuned(model, data.task, download=download, scores=True)
    max_length = min(max_length or default_length(data.task), student.config.max_position_embeddings)
    train = encode(data.split("train"), data.task, tokenizer, max_length)
    run = {"model": str(model), "task": data.task.name, "bits": bits, "seed": seed, "max_length": max_length}
    same = run | {"recipe": chosen.model_dump(), "data": digest(train)}
    how = {
        "seed": seed,
        "title": f"{chosen.name} {bits}" if progress else None,
        "report_to": report_to,
        "logs": output.with_name(output.name + ".runs"),
        "checkpoint_seconds": checkpoint_seconds,
    }
    with work_directory(output, work_dir, same, resume=resume, overwrite=overwrite) as work:
        stages = _train(student, teacher, chosen, train, tokenizer, work, how)
        report = run | {
            "rows": len(data.split("train")),
            "recipe": chosen.name,
            "calibration": chosen.calibration.model_dump(),
            "stages": stages,
        }
        report = deliver(student, spec, tokenizer, model, data, report, output, work=work, overwrite=overwrite)
    return report | {"output": str(output)}


def default_recipe(bits: str) -> str:
    """The recipe that is used for a width unless another is named."""
    weight_bits, activation_bits = parse_bits(bits)
    return "q8bert" if weight_bits == activation_bits == 8 else "kdlsq"


def _train(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    recipe: Recipe,
    train: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    work: Path,
    how: dict[str, Any],
) -> list[dict[str, Any]]:
    """Calibrate, reconstruct where the recipe says so, then train through all stages; the results of each."""
    batch_size = recipe.stages[0].batch_size if recipe.stages else BATCH
    batches = some_batches(train, tokenizer, batch_size, recipe.calibration.batches, how["seed"])
    calibrate(student, batches, recipe.calibration)
    if recipe.reconstruction:
        reconstruct(student, teacher, batches, recipe.reconstruction, seed=how["seed"], title=how["title"])
    return [
        run_stage(
            student,
            stage,
            train,
            tokenizer,
            work / f"stage-{number}",
            teacher=teacher if stage.losses.needs_teacher else None,
            **how | {"logs": how["logs"] / f"stage-{number}"},
        )
        for number, stage in enumerate(recipe.stages)
    ]
