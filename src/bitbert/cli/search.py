"""`bitbert search`: a fine-tuned float checkpoint + data + a budget -> how many bits each row group gets."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bitbert.cli import options
from bitbert.cli.output import notices, print_json, progress, say
from bitbert.errors import SearchError

if TYPE_CHECKING:
    from bitbert.search.budget import Budget, Unit
    from bitbert.search.differentiable import Settings

_BUDGET, _METHOD = "Budget (one of them)", "Method"


@options.with_data
def search(
    model: Annotated[str, typer.Argument(help="Directory of a fine-tuned model; a hub name with --download.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write.")],
    *,
    budget_mib: Annotated[
        float | None, typer.Option("--budget-mib", help="Size of model.safetensors, MiB.", rich_help_panel=_BUDGET)
    ] = None,
    average_bits: Annotated[
        float | None,
        typer.Option("--average-bits", help="Of the weights of layers and pooler.", rich_help_panel=_BUDGET),
    ] = None,
    budget_ms: Annotated[
        float | None,
        typer.Option("--budget-ms", help="Of a forward pass of --shape on this CPU.", rich_help_panel=_BUDGET),
    ] = None,
    shape: Annotated[
        str, typer.Option("--shape", help="Sequences x tokens, for --budget-ms.", rich_help_panel=_BUDGET)
    ] = "1x128",
    threads: options.Threads = None,
    method: Annotated[
        Literal["sensitivity", "aq"],
        typer.Option(
            "--method",
            help="sensitivity: estimate what each width costs, then assign exactly; minutes. aq: learn widths and"
            " weights together (AQ-BERT); hours.",
            rich_help_panel=_METHOD,
        ),
    ] = "sensitivity",
    choices: Annotated[
        str, typer.Option("--choices", help="Widths to choose from; 0 prunes, 2 is ternary.", rich_help_panel=_METHOD)
    ] = "0,2,4,8",
    recipe: Annotated[
        str, typer.Option("--recipe", help="Whose quantizers the spec has: name or YAML.", rich_help_panel=_METHOD)
    ] = "w2a8",
    embedding_bits: Annotated[
        int, typer.Option("--embedding-bits", min=1, max=8, help="Of the three tables.", rich_help_panel=_METHOD)
    ] = 8,
    search_embeddings: Annotated[
        bool, typer.Option("--search-embeddings", help="Choose a width for each table too.", rich_help_panel=_METHOD)
    ] = False,
    calibration_texts: Annotated[
        int,
        typer.Option("--texts", min=1, help="Training texts that sensitivity looks at.", rich_help_panel=_METHOD),
    ] = 512,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting of aq: key=number. May be repeated.", rich_help_panel=_METHOD),
    ] = None,
    data: options.DataOptions,
    max_train: options.MaxTrain = None,
    max_length: options.MaxLength = None,
    seed: options.Seed = 42,
    work_dir: options.WorkDir = None,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
) -> None:
    """Find how many bits each group of 16 rows should have, so that the model fits a budget.

    Writes spec.json, which `bitbert quantize --spec` trains, search.json and bits.svg.

    Examples:

    \b
    bitbert search sst2-float --budget-mib 8 --embedding-bits 4 --task sst2 --data-dir ./data -o sst2-8mib
    bitbert search sst2-float --average-bits 1.97 --method aq --task sst2 --data-dir ./data -o sst2-aq
    bitbert search sst2-float --budget-ms 3 --shape 1x128 --threads 1 --task sst2 --data-dir ./data -o sst2-3ms
    """
    budget = _budget(budget_mib, average_bits, budget_ms)
    from bitbert.search.differentiable import Settings
    from bitbert.search.run import Plan, check_target
    from bitbert.search.run import search as run

    check_target(output, overwrite)
    plan = Plan(
        method=method,
        choices=_widths(choices),
        recipe=recipe,
        embedding_bits=embedding_bits,
        search_embeddings=search_embeddings,
        texts=calibration_texts,
        aq=_changed(Settings(), settings or []),
        seed=seed,
        max_length=max_length,
    )
    task_data = data.read(options.read_head(model), max_train)
    with notices(), progress() as watch:
        report = run(
            model,
            task_data,
            output,
            _clocked(budget, shape, threads),
            plan,
            download=data.download,
            work_dir=work_dir,
            resume=resume,
            overwrite=overwrite,
            watch=watch,
        )
    if as_json:
        print_json(report)
    else:
        _show(report, model, output)


# ---- in --------------------------------------------------------------------------------------------------------------


def _budget(mib: float | None, bits: float | None, ms: float | None) -> tuple[Unit, float]:
    given: list[tuple[Unit, float | None]] = [("MiB", mib), ("average bits", bits), ("ms", ms)]
    found = [(unit, limit) for unit, limit in given if limit is not None]
    if len(found) != 1:
        raise SearchError(f"{len(found)} budgets are given: expected one of --budget-mib, --average-bits, --budget-ms")
    return found[0]


def _clocked(budget: tuple[Unit, float], shape: str, threads: int | None) -> Budget:
    """The budget; one in ms with the engine as its clock."""
    from bitbert.search.budget import Budget

    unit, limit = budget
    if unit != "ms":
        return Budget(unit, limit)
    from bitbert.bench.price import EngineClock
    from bitbert.runtime.engine import default_threads

    return Budget(unit, limit, EngineClock(shape, threads or default_threads()))


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise SearchError(f"--choices {text!r}: expected widths with commas, such as 0,2,4,8") from None


def _changed(settings: Settings, changes: list[str]) -> Settings:
    """Settings of the method aq with each key=number applied."""
    known = {field.name: type(getattr(settings, field.name)) for field in dataclasses.fields(settings)}
    for change in changes:
        key, _, value = change.partition("=")
        if key not in known:
            raise SearchError(f"--set {change!r}: unknown setting {key!r}, expected one of: {', '.join(known)}")
        try:
            settings = dataclasses.replace(settings, **{key: known[key](value)})
        except ValueError:
            raise SearchError(f"--set {change!r}: {value!r} is not a number") from None
    return settings


# ---- out -------------------------------------------------------------------------------------------------------------


def _show(report: dict[str, Any], model: str, output: Path) -> None:
    from bitbert.report.table import mib, show, table

    widths = [str(bits) for bits in report["choices"]]
    kinds: dict[str, Counter[str]] = {}
    for name, tensor in report["tensors"].items():
        kinds.setdefault(_kind(name), Counter()).update(tensor["groups"])
    rows = [(kind, *(str(found[width]) for width in widths)) for kind, found in kinds.items()]
    show(table(("row groups at", *(f"{width} bits" for width in widths)), rows))
    predicted, budget = report["predicted"], report["budget"]
    typer.echo(
        f"{predicted['average_bits']:.2f} bits on average, model.safetensors of {mib(predicted['bytes'])} MiB; "
        f"{predicted[budget['unit']]:.4g} of {budget['limit']:g} {budget['unit']}"
    )
    if "measured" in report:
        typer.echo(f"measured with these widths: {report['measured']['ms']:.4g} ms")
    say(f"{output} is written, a picture in {output / 'bits.svg'}. Next, with the same data options:")
    say(f"bitbert quantize {model} --spec {output / 'spec.json'} -o {output}-packed")


def _kind(tensor: str) -> str:
    """`attention output` of `encoder.layer.3.attention.output.dense.weight`."""
    name = re.sub(r"encoder\.layer\.\d+\.|\.dense|\.weight|self\.|embeddings\.(?=\w+_)", "", tensor)
    return name.replace(".", " ").replace("_", " ")
