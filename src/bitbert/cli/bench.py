"""`bitbert bench`: how fast a packed directory is, beside other runtimes, or operation by operation (`--profile`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bitbert.cli import options
from bitbert.cli.output import notices, print_json, progress, say
from bitbert.cli.texts import from_file
from bitbert.errors import DataError

if TYPE_CHECKING:
    from bitbert.bench.contenders import Setup
    from bitbert.bench.workload import Workload

SHAPES = "1x32,1x128,8x128,32x128"
FAR_FROM_FLOAT32 = 0.9  # cosine; int8 gives 0.999 on random weights of BERT-base


def bench(
    directories: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Packed directories of one shape.")],
    shapes: Annotated[
        str | None, typer.Option("--shapes", help=f"Sequences x tokens. Default, without --texts: {SHAPES}.")
    ] = None,
    texts: Annotated[
        Path | None, typer.Option("--texts", help="Time these too, at their lengths: CSV, JSONL, Parquet, or lines.")
    ] = None,
    text_column: Annotated[
        list[str] | None, typer.Option("--text-column", help="Column of --texts; twice for pairs. Default: text.")
    ] = None,
    peers: Annotated[
        str,
        typer.Option("--peers", help="all, none, or of torch-fp32,torch-bf16,onnxruntime,openvino,ctranslate2."),
    ] = "all",
    floats: Annotated[
        Path | None,
        typer.Option("--float", help="Float checkpoint that DIR was made from. Default: peers get random weights."),
    ] = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Of everyone. Default: every CPU.")] = None,
    isa: Annotated[str | None, typer.Option("--isa", help="Instruction set of bitbert's engine.")] = None,
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, help="Rounds of each shape; each times everyone once.")
    ] = 20,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0, help="No new round of a shape after this time, if there are three.")
    ] = 60.0,
    profile: Annotated[
        bool, typer.Option("--profile", help="Time each operation inside bitbert's engine instead; no peers.")
    ] = False,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw the times as an SVG file.")] = None,
    as_json: options.Json = False,
) -> None:
    """Time a packed model beside other runtimes: same tokens, same threads, in turn; medians and quartiles.

    Peers run the same architecture with random weights: speed does not depend on the values. They get padded batches,
    ready as their own tensors; bitbert gets token ids. Timed is the way from there to the pooled output. Peers that
    are not installed, or fail, are named. To install them: pip install 'bitbert\\[bench]'

    Examples:

    \b
    bitbert bench sst2-w4a8
    bitbert bench sst2-w8a8 sst2-w4a8 --peers openvino --shapes 1x32,32x128 --threads 1 --plot speed.svg
    bitbert bench sst2-w4a8 --texts reviews.csv --text-column review
    bitbert bench sst2-w4a8 --profile --shapes 1x128
    """
    from bitbert.bench.setups import parse_peers

    _check_plot(plot, profile)
    chosen = parse_peers(peers)
    packed = _packed(directories, threads, isa, floats)
    workloads = _workloads(directories[0], packed[0], shapes, texts, text_column)
    if profile:
        report = _profile(directories, packed[0], workloads, rounds)
    else:
        report = _bench(packed, chosen, workloads, rounds, seconds)
    if plot is not None:
        _draw(plot, report)
    if as_json:
        print_json(report)
    else:
        (_show_profile if profile else _show)(report)


def _check_plot(plot: Path | None, profile: bool) -> None:
    """Before minutes of timing rather than after."""
    if plot is not None and profile:
        raise DataError("--plot draws times beside others, which --profile does not take: give one of them")
    if plot is not None and not plot.absolute().parent.is_dir():
        raise DataError(f"{plot} cannot be written: {plot.parent} is not a directory")


# ---- in --------------------------------------------------------------------------------------------------------------


def _packed(directories: list[Path], threads: int | None, isa: str | None, floats: Path | None) -> list[Setup]:
    from bitbert.bench.setups import check_comparable, check_floats, packed
    from bitbert.runtime.engine import choose_isa, default_threads

    choose_isa(isa)
    setups = [packed(d, threads or default_threads(), isa=isa, floats=floats) for d in directories]
    check_comparable(setups)
    if floats is not None:
        check_floats(floats, setups[0])
    return setups


def _workloads(
    directory: Path, setup: Setup, shapes: str | None, texts: Path | None, columns: list[str] | None
) -> list[Workload]:
    from bitbert.bench.workload import parse_shapes, random_workload

    vocabulary, longest = setup.config["vocab_size"], setup.config["max_position_embeddings"]
    wanted = shapes or ("" if texts else SHAPES)
    made = [random_workload(shape, vocabulary) for shape in parse_shapes(wanted, longest)] if wanted else []
    return [*made, _from_texts(directory, setup, texts, columns)] if texts else made


def _from_texts(directory: Path, setup: Setup, file: Path, columns: list[str] | None) -> Workload:
    from bitbert.bench.workload import text_workload
    from bitbert.checkpoint import Architecture
    from bitbert.runtime.tokenizer import Tokenizer

    with notices():
        ids, types = Tokenizer(directory, Architecture.from_config(setup.config)).encode(from_file(file, columns))
    if not ids:
        raise DataError(f"{file}: there are no texts")
    return text_workload(file.stem, ids, types)


# ---- timing ----------------------------------------------------------------------------------------------------------


def _bench(
    packed: list[Setup], peers: tuple[str, ...], workloads: list[Workload], rounds: int, seconds: float
) -> dict[str, Any]:
    from bitbert.bench.rounds import Budget
    from bitbert.bench.run import bench as run
    from bitbert.bench.setups import peer

    setups = [*packed, *(peer(name, packed[0]) for name in peers)]
    with progress() as watch:
        return run(setups, workloads, Budget(rounds, seconds), watch)


def _profile(directories: list[Path], setup: Setup, workloads: list[Workload], rounds: int) -> dict[str, Any]:
    from bitbert.bench.profile import profile

    if len(directories) > 1:
        raise DataError("--profile looks into one directory: give one")
    with progress() as watch:
        return profile(directories[0], workloads, threads=setup.threads, rounds=rounds, isa=setup.isa, watch=watch)


# ---- out -------------------------------------------------------------------------------------------------------------


def _draw(path: Path, report: dict[str, Any]) -> None:
    from bitbert.bench.plot import plot

    try:
        path.write_text(plot(report, _measured(report)), encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from None
    say(f"{path} is written.")


def _measured(report: dict[str, Any]) -> str:
    machine = report["machine"]
    threads = "1 thread" if report["threads"] == 1 else f"{report['threads']} threads"
    return f"{machine['cpu']}, {threads}, bitbert {machine['versions']['bitbert']} with {machine['isa']}"


def _show(report: dict[str, Any]) -> None:
    from bitbert.report.table import show, table

    typer.echo(f"{_measured(report)}. Medians, quartiles in brackets, of rounds that time everyone in turn.")
    if any(about["weights"] == "random" for about in report["contenders"]):
        typer.echo("Peers run the same architecture with random weights: speed does not depend on the values.")
    for kind, title in (("shape", "ms per batch"), ("texts", "texts per second")):
        if workloads := [workload for workload in report["workloads"] if workload["kind"] == kind]:
            show(table((title, *(w["name"] for w in workloads)), _times(report, workloads, kind)))
    first, *others = (about["name"] for about in report["contenders"])
    if others:
        names = [workload["name"] for workload in report["workloads"]]
        show(table((f"times as long as {first}", *names), [(name, *_ratios(report, name)) for name in others]))
    _show_notes(report)


def _times(report: dict[str, Any], workloads: list[dict[str, Any]], kind: str) -> list[tuple[str, ...]]:
    """A row for each contender, and how many rounds there were."""
    rows = [
        (name, *(_time(workload, workload["times"].get(name), kind) for workload in workloads))
        for name in (about["name"] for about in report["contenders"])
    ]
    return [*rows, ("rounds", *(str(workload["rounds"]) for workload in workloads))]


def _time(workload: dict[str, Any], time: dict[str, Any] | None, kind: str) -> str:
    from bitbert.bench.summary import figure

    if time is None:
        return "-"
    values = [time["median"], time["q1"], time["q3"]]
    if kind == "texts":
        median, high, low = (workload["sequences"] / value for value in values)
        return f"{figure(median)} ({figure(low)} to {figure(high)})"
    median, low, high = (1e3 * value for value in values)
    return f"{figure(median)} ({figure(low)} to {figure(high)})"


def _ratios(report: dict[str, Any], name: str) -> list[str]:
    """How many times as long as the first contender, by workload."""
    found = [workload["times"].get(name) for workload in report["workloads"]]
    return ["-" if time is None else f"{time['ratio']['median']:.2f}" for time in found]


def _show_notes(report: dict[str, Any]) -> None:
    for about in report["contenders"]:
        cosine = about["cosine_to_float32"]
        if cosine is not None and cosine < FAR_FROM_FLOAT32:
            typer.echo(f"note: the output of {about['name']} is far from float32's (cosine {cosine:.2f})")
    for left_out in report["left_out"]:
        typer.echo(f"left out: {left_out['name']}: {left_out['reason']}")


def _show_profile(report: dict[str, Any]) -> None:
    from bitbert.report.table import show, table

    typer.echo(f"{_measured(report)}. Medians of calls; time is summed over threads.")
    for workload in report["workloads"]:
        medians = {name: spread["median"] for name, spread in workload["operations"].items()}
        total = sum(medians.values())
        rows = [(name, f"{1e3 * s:.3f}", f"{100 * s / total:.1f} %") for name, s in medians.items()]
        rows.append(("all", f"{1e3 * total:.3f}", "100 %"))
        show(table((workload["name"], "ms", "share"), rows))
