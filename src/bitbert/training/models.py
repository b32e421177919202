"""Opening Hugging Face checkpoints for training, with errors that say what was wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import transformers
from torch import nn
from transformers import (
    AutoConfig,
    AutoTokenizer,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from bitbert.errors import ModelError
from bitbert.layers import attention
from bitbert.prepare import ARCHITECTURES, base_model, check_supported
from bitbert.recipes.schema import Recipe
from bitbert.training.distill import last_of_blocks
from bitbert.training.quiet import quiet
from bitbert.training.tasks import Task

# Kind of task -> transformers' model with a head for it, and what an error calls that head.
_HEADS = {
    "classification": (BertForSequenceClassification, "classification head"),
    "regression": (BertForSequenceClassification, "classification head"),
    "answering": (BertForQuestionAnswering, "head for questions"),
    "tagging": (BertForTokenClassification, "head for words"),
}


def load_tokenizer(model: str | Path, *, download: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint; raises `ModelError` if there is none, or one that does not go with the model."""
    config = _load_config(model, download)
    # Without these files transformers makes a tokenizer that knows no words at all.
    if Path(model).is_dir() and not any((Path(model) / name).is_file() for name in ("tokenizer.json", "vocab.txt")):
        raise ModelError(f"{model}: no tokenizer: expected tokenizer.json or vocab.txt beside config.json")
    with quiet(), _as_model_error(model, "no usable tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(str(model), local_files_only=not download)
    if not tokenizer.is_fast:
        raise ModelError(f"{model}: a fast tokenizer (tokenizer.json) is needed")
    tokens = max(tokenizer.get_vocab().values()) + 1
    if tokens > config.vocab_size:
        raise ModelError(f"{model}: the tokenizer has {tokens} tokens, but the model knows {config.vocab_size}")
    loaded: PreTrainedTokenizerBase = tokenizer
    return loaded


def load_pretrained(model: str | Path, task: Task, *, download: bool = False) -> PreTrainedModel:
    """A pretrained encoder with a head for `task`, kept from the checkpoint where it fits, else new.

    `model` is a local directory, or a hub name with `download`. Raises `ModelError` for a checkpoint that is missing,
    damaged or of an architecture that cannot be quantized.
    """
    _load_config(model, download)
    kind = _HEADS[task.kind][0]
    return _load(model, kind, download, attention="sdpa", ignore_mismatched_sizes=True, **_head_config(task))


def _head_config(task: Task) -> dict[str, Any]:
    names = list(task.label_names) or [f"LABEL_{i}" for i in range(task.num_labels)]
    problems = {"classification": "single_label_classification", "regression": "regression"}
    return {
        "num_labels": task.num_labels,
        "problem_type": problems.get(task.kind),
        "id2label": dict(enumerate(names)),
        "label2id": {name: i for i, name in enumerate(names)},
    }


def load_finetuned(model: str | Path, task: Task, *, download: bool = False, scores: bool = False) -> PreTrainedModel:
    """A fine-tuned model that fits `task`; with `scores`, a teacher whose attention hands them out.

    Raises `ModelError` as `load_pretrained`, and for a checkpoint without a head for the task, or with another one.
    """
    config = _load_config(model, download)
    architecture = (config.architectures or ["none"])[0]
    expected, head = _HEADS[task.kind]
    if architecture != expected.__name__:
        raise ModelError(f"{model} is a {architecture}, which has no {head}: fine-tune it first (bitbert finetune)")
    if config.problem_type == "multi_label_classification":
        raise ModelError(f"{model} gives a text any number of labels, which is not supported: expected one for each")
    if config.num_labels != task.num_labels:
        raise ModelError(f"{model} has {config.num_labels} outputs, but {task.name} needs {task.num_labels}")
    return _load(model, expected, download, attention=attention.NAME if scores else "sdpa")


def keep_layers(model: PreTrainedModel, count: int | None) -> PreTrainedModel:
    """`model` with so many of its encoder layers, the last of each of as many equal blocks; None keeps all.

    Raises `ModelError` where they do not make equal blocks.
    """
    found = model.config.num_hidden_layers
    if count is None:
        return model
    if count < 1 or found % count:
        raise ModelError(f"{count} layers cannot be kept of {found}: the number must divide it")
    encoder = base_model(model).get_submodule("encoder")
    encoder.layer = nn.ModuleList(last_of_blocks(list(encoder.get_submodule("layer").children()), count))
    model.config.num_hidden_layers = count
    return model


def check_teacher(teacher: PretrainedConfig, student: PretrainedConfig, recipe: Recipe) -> None:
    """Raise `ModelError` unless the recipe's losses can compare a model with such a teacher."""
    losses = [stage.losses for stage in recipe.stages]
    by_layer = any(terms.needs_scores or terms.hidden for terms in losses)
    inside = any(terms.needs_scores or terms.last_values for terms in losses)
    sizes = [("num_attention_heads", "heads")] * inside
    sizes += [("hidden_size", "hidden units")] * any(terms.hidden for terms in losses)
    for field, what in sizes:
        ours, theirs = getattr(student, field), getattr(teacher, field)
        if ours != theirs:
            raise ModelError(f"the teacher has {theirs} {what}, the model {ours}: recipe {recipe.name} compares them")
    if by_layer and teacher.num_hidden_layers % student.num_hidden_layers:
        layers = f"{teacher.num_hidden_layers} layers, the model {student.num_hidden_layers}"
        raise ModelError(f"the teacher has {layers}: expected a multiple, as recipe {recipe.name} compares layers")


def load_as_it_is(model: str | Path, *, download: bool = False) -> PreTrainedModel:
    """A checkpoint with the head that it has, if any; raises `ModelError` as `load_pretrained`."""
    architecture = (_load_config(model, download).architectures or ["none"])[0]
    if architecture not in ARCHITECTURES:
        allowed = ", ".join(ARCHITECTURES)
        raise ModelError(f"{model}: architecture {architecture} is not supported, expected one of: {allowed}")
    return _load(model, getattr(transformers, architecture), download, attention="sdpa")


def load_masked_lm(model: str | Path) -> PreTrainedModel | None:
    """The model with its masked-LM head, None for a checkpoint that has another head or none."""
    if _load_config(model, download=False).architectures != ["BertForMaskedLM"]:
        return None
    with quiet(), _as_model_error(model, "cannot be loaded"):
        loaded: PreTrainedModel = BertForMaskedLM.from_pretrained(str(model), local_files_only=True).float()
    return loaded


def _load(
    model: str | Path, kind: type[PreTrainedModel], download: bool, *, attention: str, **options: Any
) -> PreTrainedModel:
    with quiet(), _as_model_error(model, "cannot be loaded"):
        loaded = kind.from_pretrained(
            str(model), attn_implementation=attention, local_files_only=not download, **options
        )
    check_supported(loaded)
    floats: PreTrainedModel = loaded.float()
    return floats


def _load_config(model: str | Path, download: bool) -> PretrainedConfig:
    if Path(model).exists() or not download:
        _check_directory(Path(model), download)
    attention.register()
    with _as_model_error(model, "cannot be loaded"):
        config = AutoConfig.from_pretrained(str(model), local_files_only=not download)
    if config.model_type != "bert":
        found = (config.architectures or [config.model_type])[0]
        raise ModelError(f"{model}: architecture {found} is not supported, expected one of: {', '.join(ARCHITECTURES)}")
    loaded: PretrainedConfig = config
    return loaded


def _check_directory(path: Path, download: bool) -> None:
    if not path.is_dir():
        hint = "" if download else " (to fetch a model from the hub, add --download)"
        raise ModelError(f"no model directory {str(path)!r}{hint}")
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path / 'config.json'} cannot be read: {_first_line(error)}") from None
    if isinstance(config, dict) and "quantization_config" in config:
        raise ModelError(f"{path} is quantized already: expected a float checkpoint")


@contextmanager
def _as_model_error(model: str | Path, what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # transformers raises whatever the damaged part made it raise
        raise ModelError(f"{model}: {what}: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
