"""How commands speak: JSON on standard output, notes on standard error. Not a command."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
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
