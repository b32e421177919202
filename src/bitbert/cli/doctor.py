"""`bitbert doctor`: what this machine can run, and what is installed (by its metadata: nothing heavy is imported)."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Any

import typer

import bitbert
from bitbert.cli import options
from bitbert.cli.output import print_json
from bitbert.errors import InstructionSetError

RUNTIME = ("numpy", "safetensors", "tokenizers")
TRAINING = ("torch", "transformers", "accelerate", "datasets")


def doctor(as_json: options.Json = False) -> None:
    """Show the CPU, the instruction sets that can run, versions, and what is wrong if anything is.

    Ends with exit code 2 if something is wrong.

    Examples:

    \b
    bitbert doctor
    bitbert doctor --json
    """
    report = examine()
    if as_json:
        print_json(report)
    else:
        _show(report)
    if report["problems"]:
        raise typer.Exit(2)


def examine() -> dict[str, Any]:
    """Everything that the command shows, as plain values; `problems` are sentences."""
    engine, problems = _engine()
    versions = {name: _version(name) for name in (*RUNTIME, *TRAINING)}
    problems += [f"{name} is not installed: pip install bitbert" for name in RUNTIME if versions[name] is None]
    return {
        "bitbert": bitbert.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **engine,
        "cpus": len(os.sched_getaffinity(0)),
        "BITBERT_ISA": os.environ.get("BITBERT_ISA"),
        "versions": versions,
        "problems": problems,
    }


def _engine() -> tuple[dict[str, Any], list[str]]:
    try:
        from bitbert import _native
        from bitbert.runtime.engine import choose_isa
    except ImportError as error:
        return {}, [f"the native engine cannot be loaded ({error}): reinstall bitbert"]
    found: dict[str, Any] = {
        "cpu": _native.cpu_name(),
        "cpu_features": [name for name, there in _native.cpu_features().items() if there],
        "instruction_sets": _native.available_isas(),
    }
    try:
        return found | {"chosen": choose_isa()}, []
    except InstructionSetError as error:
        return found | {"chosen": None}, [f"BITBERT_ISA: {error}"]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _show(report: dict[str, Any]) -> None:
    lines = {
        "bitbert": f"{report['bitbert']}, Python {report['python']}, {report['platform']}",
        "CPU": f"{report.get('cpu', 'unknown')}, {report['cpus']} for this process",
        "features": " ".join(report.get("cpu_features", [])),
        "can run": ", ".join(report.get("instruction_sets", [])),
        "runs": report.get("chosen") or "nothing",
        "BITBERT_ISA": report["BITBERT_ISA"] or "not set",
        **{name: version or "not installed" for name, version in report["versions"].items()},
    }
    for name, text in lines.items():
        typer.echo(f"{name:13} {text}")
    if all(report["versions"][name] is None for name in TRAINING):
        typer.echo("\nTraining is not installed: pip install 'bitbert[train]'. Running packed models does not need it.")
    typer.echo("\n" + ("\n".join(f"problem: {text}" for text in report["problems"]) or "All is well."))
