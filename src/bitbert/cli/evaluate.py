"""`bitbert evaluate`: scores of a packed directory (through the engine) or of a float checkpoint (through torch)."""

from __future__ import annotations

from typing import Annotated

import typer

from bitbert.cli import options
from bitbert.cli.output import notices, print_json


@options.with_data
def evaluate(
    model: Annotated[str, typer.Argument(help="Packed directory, or directory of a float checkpoint.")],
    *,
    split: Annotated[list[str] | None, typer.Option("--split", help="May be repeated. Default: validation.")] = None,
    data: options.DataOptions,
    threads: options.Threads = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1)] = 32,
    max_length: Annotated[
        int | None,
        typer.Option("--max-length", min=4, help="Default: as many tokens as the model takes; windows of 384."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Measure a model on labelled texts, on questions with answers, or on tagged words.

    Examples:

    \b
    bitbert evaluate sst2-w4a8 --task sst2 --data-dir ./data --split validation --split test
    bitbert evaluate mails-w4a8 --test-file held-out.csv --split test --json
    bitbert evaluate wnut17-w8a8 --task wnut17 --data-dir ./data --split test
    """
    task_data = data.read(options.read_head(model))
    from bitbert.training.evaluate import evaluate as run

    with notices():
        report = run(
            model, task_data, split or ["validation"], threads=threads, batch_size=batch_size, max_length=max_length
        )
    if as_json:
        print_json(report)
        return
    from bitbert.report.table import show, table

    columns = ("split", *next(iter(report.values())))
    rows = [
        (name, *(f"{value:g}" if value == int(value) else f"{value:.2f}" for value in scores.values()))
        for name, scores in report.items()
    ]
    show(table(columns, rows))
