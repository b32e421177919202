"""How commands speak: JSON on standard output, notes on standard error. Not a command."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer


def say(text: str = "") -> None:
    """A note on standard error, which never mixes with results."""
    typer.echo(text, err=True)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_json_line(value: Mapping[str, Any]) -> None:
    """One line of JSONL on standard output."""
    typer.echo(json.dumps(value, ensure_ascii=False))


@contextmanager
def notices() -> Iterator[None]:
    """Show bitbert's warnings, such as that a text was cut, as one line each on standard error."""
    from bitbert.runtime.tokenizer import TruncationWarning

    with warnings.catch_warnings():
        warnings.filterwarnings("always", category=TruncationWarning)
        show = warnings.showwarning
        warnings.showwarning = lambda message, category, *rest, **more: (
            say(f"note: {message}") if category is TruncationWarning else show(message, category, *rest, **more)
        )
        yield


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error: yields what is told what is being done, and how many of how many steps are done.

    It is drawn when told and at no other time: drawing takes time from whoever may be timed.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    hidden = not sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True, disable=hidden) as bar:
        task = bar.add_task("")
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total, refresh=True)
