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
FIGURES = "0123456789+-"  # what a figure begins with; "-" alone stands for none


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table with columns of figures aligned to the right, and columns of words to the left."""
    cells = list(rows)
    out = Table(box=box.SIMPLE_HEAD)
    for i, column in enumerate(columns):
        figures = all(row[i][:1] in FIGURES for row in cells)
        out.add_column(column, justify="right" if figures else "left", no_wrap=True)
    for row in cells:
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
