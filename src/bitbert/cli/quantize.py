"""`bitbert quantize`: a float checkpoint + data, or texts alone -> a packed directory, measured through the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bitbert.cli import options
from bitbert.cli.output import notices, print_json, say
from bitbert.cli.texts import from_file
from bitbert.errors import DataError, RecipeError


@options.with_data
def quantize(
    model: Annotated[str, typer.Argument(help="Directory of a fine-tuned model; a hub name with --download.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write.")],
    *,
    bits: Annotated[
        str | None,
        typer.Option("--bits", help="Width of weights and activations, wXaY. Default: the recipe's, or w8a8."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="Method: a recipe's name or YAML file. Default: by the width.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Change a field of the recipe: key=value. May be repeated.")
    ] = None,
    spec: Annotated[
        Path | None, typer.Option("--spec", help="All widths from a file, as bitbert search writes it; no --bits then.")
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option("--teacher", help="Another fine-tuned model to learn from, as deep or deeper. Default: MODEL."),
    ] = None,
    layers: Annotated[
        int | None, typer.Option("--layers", min=1, help="Keep so many of MODEL's layers, evenly spaced. Default: all.")
    ] = None,
    only_calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate-only",
            help="Minutes, and no labels: calibrate on a few hundred texts, of --texts or of the training data, and"
            " reconstruct block by block. For w8a8 and w4a8.",
        ),
    ] = False,
    texts: Annotated[
        Path | None,
        typer.Option(
            "--texts", help="Texts for --calibrate-only: one a line, or CSV, JSONL or Parquet.", rich_help_panel="Data"
        ),
    ] = None,
    data: options.DataOptions,
    max_train: options.MaxTrain = None,
    max_length: options.MaxLength = None,
    seed: options.Seed = 42,
    work_dir: options.WorkDir = None,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    tensorboard: options.TensorBoard = False,
    as_json: options.Json = False,
) -> None:
    """Train a fine-tuned model at low width, or only calibrate it, and write it packed.

    Examples:

    \b
    bitbert quantize sst2-float --bits w4a8 --task sst2 --data-dir ./data -o sst2-w4a8
    bitbert quantize mails-float --bits w2a8 --recipe kdlsq --set epochs=5 --train-file mails.csv -o mails-w2a8
    bitbert quantize squad-float --bits w4a8 --task squad --data-dir ./data -o squad-w4a8
    bitbert quantize mails-float --bits w8a8 --calibrate-only --texts mails.txt -o mails-w8a8
    """
    if only_calibrate:
        long = {"--spec": spec, "--teacher": teacher, "--layers": layers, "--work-dir": work_dir}
        _check_minutes_only(long | {"--resume": resume, "--tensorboard": tensorboard})
    elif texts is not None:
        raise DataError("--texts goes with --calibrate-only; training needs labels: --task or --train-file")
    needed = data.given or not only_calibrate
    task_data = data.read(options.read_head(model), max_train) if needed else None
    how: dict[str, Any] = {
        "bits": bits,
        "settings": settings or (),
        "seed": seed,
        "max_length": max_length,
        "download": data.download,
        "overwrite": overwrite,
    }
    with notices():
        if only_calibrate:
            from bitbert.training.post_training import RECIPE, calibrate_only

            given = None if texts is None else list(from_file(texts, data.text_column))
            report = calibrate_only(model, output, texts=given, task=task_data, recipe=recipe or RECIPE, **how)
        else:
            from bitbert.training.pipeline import quantize as run

            assert task_data is not None
            how |= {"spec": spec, "teacher": teacher, "layers": layers, "work_dir": work_dir, "resume": resume}
            events = "tensorboard" if tensorboard else "none"
            report = run(model, task_data, output, recipe=recipe, report_to=events, **how)
    if as_json:
        print_json(report)
    else:
        _show(report, task_data.task.main_metric if task_data else "", output)


def _check_minutes_only(given: dict[str, Any]) -> None:
    """Raise `RecipeError` for options of training, which `--calibrate-only` does not take."""
    for option, value in given.items():
        if value:
            raise RecipeError(f"{option} does not go with --calibrate-only, which trains no stages: leave it out")


def _show(report: dict[str, Any], metric: str, output: Path) -> None:
    from bitbert.report.table import beside, show, table

    rows = [
        (split, beside(scores[metric], scores["float32"][metric], 2), str(scores["texts"]))
        for split, scores in report["splits"].items()
    ]
    if rows:
        show(table(("split", f"{metric} (from float32)", "texts"), rows))
    say(f"{output} is written. Next: bitbert inspect {output}, or bitbert predict --help")
