"""`bitbert.quantize`: a fine-tuned float checkpoint + data -> a packed directory, trained by a recipe and measured."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

import bitbert
from bitbert import machine as common
from bitbert.checkpoint.write import check_target, write
from bitbert.errors import RecipeError
from bitbert.freeze import freeze
from bitbert.prepare import check_fits
from bitbert.recipes.schema import Recipe, Stage, load_recipe
from bitbert.report.card import model_card
from bitbert.spec import QuantSpec, parse_bits, read_spec
from bitbert.training.data import TaskData, task_data
from bitbert.training.encode import default_length, digest, encode
from bitbert.training.evaluate import Run, agreement, evaluate, packed_run, score, torch_run
from bitbert.training.models import check_teacher, keep_layers, load_finetuned, load_tokenizer
from bitbert.training.progression import Progression
from bitbert.training.tasks import Task
from bitbert.training.work import work_directory


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
    chosen = load_recipe(recipe or default_recipe(bits or "w8a8"), settings)
    check_target(output, overwrite)
    data = task_data(task, data_dir=data_dir, download=download)
    set_seed(seed)
    tokenizer = load_tokenizer(model, download=download)

    def fresh() -> PreTrainedModel:
        return keep_layers(load_finetuned(model, data.task, download=download), layers)

    first = fresh()
    config = first.config
    wanted = _specs(chosen, bits, spec, config.num_hidden_layers)
    check_fits(first, wanted(None))
    teacher_model = load_finetuned(teacher or model, data.task, download=download, scores=True)
    check_teacher(teacher_model.config, config, chosen)
    max_length = min(max_length or default_length(data.task), config.max_position_embeddings)
    train = encode(data.split("train"), data.task, tokenizer, max_length)
    run = {
        "model": str(model),
        "teacher": str(teacher or model),
        "task": data.task.name,
        "bits": bits or ("spec" if spec else chosen.bits),
        "layers": config.num_hidden_layers,
        "seed": seed,
        "max_length": max_length,
    }
    same = run | {"recipe": chosen.model_dump(), "spec": wanted(None).to_json(), "data": digest(train)}
    stages = Progression(chosen, fresh, teacher_model, lambda copies: train, wanted, tokenizer, seed)
    title = f"{chosen.name} {run['bits']}" if progress else None
    logs = output.with_name(output.name + ".runs")
    with work_directory(output, work_dir, same, resume=resume, overwrite=overwrite) as work:
        student, results = stages.run(work, title, logs, report_to=report_to, checkpoint_seconds=checkpoint_seconds)
        packed = freeze(student, wanted(None))
        files = _tokenizer_files(tokenizer, work / "tokenizer")
        write(packed, work / "packed", files=files, overwrite=True)
        report = run | {
            "rows": len(data.split("train")),
            "recipe": chosen.name,
            "calibration": chosen.calibration.model_dump(),
            "stages": results,
            "splits": _measure(work / "packed", student, tokenizer, teacher or model, data),
            "bytes": _sizes(work / "packed", student),
            "machine": machine(),
        }
        files["README.md"] = model_card(packed, report).encode()
        write(packed, output, files=files, report=report, overwrite=overwrite)
    return report | {"output": str(output)}


def _specs(
    recipe: Recipe, bits: str | None, spec: str | Path | QuantSpec | None, num_layers: int
) -> Callable[[Stage | None], QuantSpec]:
    """What a stage is trained at, None being the result, which must be one that can be packed."""
    if spec is None:
        final = recipe.spec(bits, num_layers)
        recipe.check_overrides(final, num_layers)
    elif bits or any(stage.bits for stage in recipe.stages):
        raise RecipeError(
            "a spec says all widths: give no bits beside it, and a recipe whose stages have none of their own"
        )
    else:
        final = spec if isinstance(spec, QuantSpec) else read_spec(Path(spec))
    final.check_packable(num_layers, pooler=True)
    return lambda stage: recipe.spec_of(stage, bits, num_layers) if stage and stage.bits else final


def default_recipe(bits: str) -> str:
    """The recipe that is used for a width unless another is named."""
    weight_bits, activation_bits = parse_bits(bits)
    return "q8bert" if weight_bits == activation_bits == 8 else "kdlsq"


def _measure(
    packed: Path,
    student: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    teacher: str | Path,
    data: TaskData,
) -> dict[str, Any]:
    """Per held-out split: scores through the engine; as `trained`, of the fake-quantized model in float32, with the
    percentage of texts that both give the same label or answer; as `float32`, of the model that it came from.
    """
    engine = packed_run(bitbert.load(packed), data.task)
    trained = torch_run(student, tokenizer, data.task)
    held_out = [name for name in data.splits if name != "train"]
    float32 = evaluate(teacher, data, held_out)
    return {
        name: _beside_trained(engine, trained, data.split(name), data.task) | {"float32": float32[name]}
        for name in held_out
    }


def _beside_trained(engine: Run, trained: Run, split: Dataset, task: Task) -> dict[str, Any]:
    scores, said = score(engine, split, task)
    trained_scores, trained_said = score(trained, split, task)
    same = {} if task.is_regression else {"agreement": agreement(said, trained_said)}
    return scores | {"trained": trained_scores | same}


def _sizes(packed: Path, model: PreTrainedModel) -> dict[str, Any]:
    """Bytes on disk of the tensors, and of the same parameters in float32."""
    size = (packed / "model.safetensors").stat().st_size
    stock = sum(p.numel() for name, p in model.named_parameters() if "quantizer" not in name)
    return {"model.safetensors": size, "float32_parameters": 4 * stock, "ratio": 4 * stock / size}


def _tokenizer_files(tokenizer: PreTrainedTokenizerBase, directory: Path) -> dict[str, bytes]:
    tokenizer.save_pretrained(directory)
    return {file.name: file.read_bytes() for file in sorted(directory.iterdir()) if file.is_file()}


def machine() -> dict[str, Any]:
    """What a figure was measured on, and torch's number of threads."""
    return common.machine(("torch", "transformers", "numpy", "tokenizers")) | {"threads": torch.get_num_threads()}
