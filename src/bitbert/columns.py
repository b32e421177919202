"""Columns of a CSV, JSONL or Parquet file as plain lists: how a user's own data come in.

It knows nothing of tasks, labels or splits. CSV is read with the standard library on purpose: readers that guess types
turn the text "007" into 7 and the texts "null" and "NA" into nothing. Only Parquet needs pyarrow (extra `train`).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

from bitbert.errors import DataError

Columns = dict[str, list[Any]]


def read_columns(path: Path, names: Sequence[str]) -> Columns:
    """The columns called `names`, all of one length, each value as the file has it (CSV: text).

    Raises `DataError` if there is no such file, its suffix or content is not understood, a column is missing or there
    are no rows.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.suffix not in _READERS:
        raise DataError(f"{path}: cannot read {path.suffix or 'a file without suffix'}; use {', '.join(_READERS)}")
    try:
        columns = _READERS[path.suffix](path, names)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: {error}") from None
    if not columns[names[0]]:
        raise DataError(f"{path}: there are no rows")
    return columns


def check_columns(where: object, names: Iterable[str], there: Sequence[str]) -> None:
    """Raise `DataError` unless each of `names` stands exactly once in `there`, the column names of `where`."""
    for name in names:
        if name not in there:
            raise DataError(f"{where}: no column {name!r}; there are {', '.join(map(repr, there)) or 'none'}")
        if there.count(name) > 1:
            raise DataError(f"{where}: more than one column is called {name!r}; rename all but one")


def json_objects(lines: Iterable[str], where: object) -> Iterable[dict[str, Any]]:
    """The object on each non-blank line; raises `DataError` with the line's number where there is none."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{where}: line {number} is not JSON: {error.msg}") from None
        if not isinstance(value, dict):
            raise DataError(f'{where}: line {number} is not a JSON object such as {{"text": "..."}}')
        yield value


def _open(path: Path) -> TextIO:
    return path.open(encoding="utf-8-sig", newline="")  # spreadsheets write a byte order mark


def _read_csv(path: Path, names: Sequence[str]) -> Columns:
    with _open(path) as file:
        rows = csv.DictReader(file)
        check_columns(path, names, list(rows.fieldnames or ()))
        table = list(rows)
    return {name: [row[name] for row in table] for name in names}


def _read_jsonl(path: Path, names: Sequence[str]) -> Columns:
    with _open(path) as file:
        rows = list(json_objects(file, path))
    if rows:
        check_columns(path, names, list(dict.fromkeys(key for row in rows for key in row)))
    return {name: [row.get(name) for row in rows] for name in names}


def _read_parquet(path: Path, names: Sequence[str]) -> Columns:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise DataError(f"{path}: reading Parquet needs pyarrow; run: pip install 'bitbert[train]'") from None
    try:
        check_columns(path, names, pq.read_schema(path).names)
        table = pq.read_table(path, columns=list(names))
    except pa.ArrowException as error:
        raise DataError(f"{path}: {str(error).splitlines()[0]}") from None
    return {name: table.column(name).to_pylist() for name in names}


_READERS: dict[str, Callable[[Path, Sequence[str]], Columns]] = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".json": _read_jsonl,
    ".parquet": _read_parquet,
}
