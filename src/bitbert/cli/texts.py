"""Texts out of a file or of lines, as commands that only read texts take them. Not a command."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bitbert.columns import check_columns, json_objects, read_columns
from bitbert.errors import DataError


def from_file(file: Path, columns: list[str] | None = None, *, words: bool = False) -> Iterator[Any]:
    """Texts, or pairs, of a CSV or Parquet file (columns `columns`, default text), JSONL, or one text a line.

    With `words` a list of words stays one, else it is written out as a text. Raises `DataError` for a file or column
    that is not there, and for content that is not understood.
    """
    _check_count(columns)
    if file.suffix in (".csv", ".parquet"):
        table = read_columns(file, columns or ["text"])
        return _zipped([[_value(value, words) for value in column] for column in table.values()])
    if not file.is_file():
        raise DataError(f"{file}: no such file")
    return from_lines(_lines(file), columns, str(file), words=words)


def _check_count(columns: list[str] | None) -> None:
    if len(columns or []) > 2:
        raise DataError("--text-column may be given once, or twice for pairs of texts")


def _lines(file: Path) -> Iterator[str]:
    try:
        with file.open(encoding="utf-8-sig") as lines:
            yield from lines
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: {error}") from None


def from_lines(lines: Iterable[str], columns: list[str] | None, where: str, *, words: bool = False) -> Iterator[Any]:
    """JSONL if the first line is an object, else one text a line (an empty line is an empty text)."""
    _check_count(columns)
    lines = iter(lines)
    first = next(lines, None)
    if first is None:
        return iter(())
    lines = itertools.chain([first], lines)
    if first.lstrip().startswith("{"):
        return (_from_object(row, columns, where, words) for row in json_objects(lines, where))
    return (line.rstrip("\r\n") for line in lines)


def _from_object(row: dict[str, Any], columns: list[str] | None, where: str, words: bool) -> Any:
    names = columns or [name for name in ("text", "text_pair") if name in row] or ["text"]
    if words and names[0] not in row and "text" in row:
        names = ["text"]
    check_columns(where, names, list(row))
    values = [_value(row[name], words) for name in names]
    return (values[0], values[1]) if len(values) == 2 else values[0]


def _value(value: Any, words: bool) -> Any:
    return value if words and isinstance(value, list) else str("" if value is None else value)


def _zipped(columns: list[list[Any]]) -> Iterator[Any]:
    return iter(columns[0]) if len(columns) == 1 else zip(columns[0], columns[1], strict=True)
