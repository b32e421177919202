"""Opening Hugging Face checkpoints for training, with errors that say what was wrong."""

from __future__ import annotations

import json
from pathlib import Path

from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    logging,
)

from bitbert.errors import ModelError
from bitbert.layers import attention
from bitbert.prepare import check_supported
from bitbert.training.tasks import Task


def load_tokenizer(model: str | Path, *, download: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint; raises `ModelError` if there is none."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(model), local_files_only=not download)
    except (OSError, ValueError) as error:
        raise ModelError(f"{model}: no usable tokenizer: {_first_line(error)}") from None
    if not isinstance(tokenizer, PreTrainedTokenizerBase) or not tokenizer.is_fast:
        raise ModelError(f"{model}: a fast tokenizer (tokenizer.json) is needed")
    return tokenizer


def load_classifier(
    model: str | Path, task: Task | None = None, *, download: bool = False, scores: bool = False
) -> PreTrainedModel:
    """A sequence classifier from a local directory, or a hub name with `download`; with `scores`, a teacher that hands them out.

    With `task` the head gets the task's labels, new where the checkpoint has none of that size. Raises `ModelError` for a missing or
    damaged checkpoint and for an architecture that cannot be quantized.
    """
    _check_local(model, download)
    options = {} if task is None else _head(task)
    kernel = attention.NAME if scores else "sdpa"
    attention.register()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # a new head is announced at length; here it is expected
    try:
        loaded = AutoModelForSequenceClassification.from_pretrained(
            str(model), attn_implementation=kernel, local_files_only=not download, **options
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{model}: cannot be loaded: {_first_line(error)}") from None
    finally:
        logging.set_verbosity(verbosity)
    check_supported(loaded)
    return loaded.float()


def _head(task: Task) -> dict[str, object]:
    names = list(task.label_names) or ["LABEL_0"]
    kind = "regression" if task.is_regression else "single_label_classification"
    return {
        "num_labels": task.num_labels,
        "problem_type": kind,
        "id2label": dict(enumerate(names)),
        "label2id": {name: i for i, name in enumerate(names)},
        "ignore_mismatched_sizes": True,
    }


def _check_local(model: str | Path, download: bool) -> None:
    path = Path(model)
    if download and not path.exists():
        return
    if not path.is_dir():
        hint = "" if download else " (a hub name needs --download)"
        raise ModelError(f"no model directory {str(model)!r}{hint}")
    config = path / "config.json"
    if not config.is_file():
        raise ModelError(f"{config} is missing: expected a Hugging Face checkpoint")
    try:
        architecture = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{config} is not JSON: {error}") from None
    if isinstance(architecture, dict) and "quantization_config" in architecture:
        raise ModelError(f"{model} is quantized already: expected a float checkpoint")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
