"""Tables in a terminal: columns, rows, and how bytes, ratios and differences are written. No figure is made here."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

MIB = 2**20
UNBOUNDED = 1000


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None) -> Table:
    """A table whose first column is text and whose others are figures, aligned to the right."""
    out = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    for i, column in enumerate(columns):
        out.add_column(column, justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        out.add_row(*(Text(cell) for cell in row))  # Text: brackets in a label are not markup
    return out


def show(*tables: Table) -> None:
    """Print tables to standard output; to a file or a pipe at full width, since nobody's window bounds it."""
    console = Console() if sys.stdout.isatty() else Console(width=UNBOUNDED)
    for one in tables:
        console.print(one)


def mib(size: float) -> str:
    """Bytes as MiB.

    >>> mib(3_500_000)
    '3.34'
    """
    return f"{size / MIB:.2f}"


def beside(value: float, reference: float, digits: int = 1) -> str:
    """A score with its difference from the reference.

    >>> beside(73.2, 74.0)
    '73.2 (-0.8)'
    """
    return f"{value:.{digits}f} ({value - reference:+.{digits}f})"


def times(value: float, reference: float, word: str) -> str:
    """How many times smaller or faster `value` is than the reference.

    >>> times(2.0, 16.0, "smaller")
    '8.0x smaller'
    """
    return f"{reference / value:.1f}x {word}"
