"""`bitbert predict`: texts in, answers out, as they come. Needs no torch."""

from __future__ import annotations

import itertools
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bitbert.cli import options
from bitbert.cli.output import notices, print_json_line, say
from bitbert.cli.texts import from_file, from_lines
from bitbert.errors import DataError

if TYPE_CHECKING:
    from bitbert.runtime.model import Model, Prediction
    from bitbert.runtime.tokenizer import Text

Answer = dict[str, Any]


def predict(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Packed directory.")],
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="Default: standard input.")] = None,
    text_pair: Annotated[str | None, typer.Option("--text-pair", help="Second text of the pair with TEXT.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="CSV, JSONL or Parquet; else one text a line.")
    ] = None,
    text_column: Annotated[
        list[str] | None,
        typer.Option("--text-column", help="Column or JSON field with the text; twice for pairs. Default: text."),
    ] = None,
    embed: Annotated[bool, typer.Option("--embed", help="Give embeddings (mean of all tokens).")] = False,
    threads: options.Threads = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Texts that are answered at a time.")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line on standard output.")] = False,
) -> None:
    """Answer texts with a packed model: labels with scores, numbers, or embeddings.

    Standard input is read as one text a line, or as JSONL if its first line is a JSON object.

    Examples:

    \b
    bitbert predict sst2-w4a8 "a gripping film"
    bitbert predict mrpc-w4a8 "He left." --text-pair "He went away."
    bitbert predict sst2-w4a8 --file reviews.csv --text-column review --json > answers.jsonl
    echo '{"text": "a gripping film"}' | bitbert predict sst2-w4a8 --json
    """
    import bitbert

    inputs = _inputs(texts or [], text_pair, file, text_column)
    model = bitbert.load(directory, threads=threads)
    answer = _embed if embed else _predict
    show = print_json_line if as_json else _printer(model)
    with notices():
        while batch := list(itertools.islice(inputs, batch_size)):
            for text, found in zip(batch, answer(model, batch), strict=True):
                show(_fields(text) | found)
            sys.stdout.flush()


# ---- texts in --------------------------------------------------------------------------------------------------------


def _inputs(texts: list[str], pair: str | None, file: Path | None, columns: list[str] | None) -> Iterator[Text]:
    if texts and file is not None:
        raise DataError("give texts or --file, not both")
    if pair is not None and len(texts) != 1:
        raise DataError("--text-pair is the second text of one pair: give exactly one TEXT with it")
    if pair is not None:
        return iter([(texts[0], pair)])
    if texts:
        return iter(texts)
    if file is not None:
        return from_file(file, columns)
    if sys.stdin.isatty():
        say("Reading texts from the keyboard, one a line; Ctrl-D ends them.")
    return from_lines(sys.stdin, columns, "standard input")


# ---- answers out -----------------------------------------------------------------------------------------------------


def _predict(model: Model, batch: list[Text]) -> list[Answer]:
    return [_answer(found) for found in model.predict(batch, batch_size=len(batch))]


def _answer(found: Prediction) -> Answer:
    if found.value is not None:
        return {"value": found.value}
    return {"label": found.label, "score": found.score, "scores": found.scores}


def _embed(model: Model, batch: list[Text]) -> list[Answer]:
    return [{"embedding": row.tolist()} for row in model.encode(batch, batch_size=len(batch))]


def _fields(text: Text) -> Answer:
    return {"text": text} if isinstance(text, str) else {"text": text[0], "text_pair": text[1]}


def _printer(model: Model) -> Callable[[Answer], None]:
    """Prints a row of a table: the answer in columns of fixed width, then as much of the text as fits the terminal."""
    width = max(map(len, model.labels), default=0)
    room = shutil.get_terminal_size().columns

    def show(answer: Answer) -> None:
        text = "  |  ".join(answer[name] for name in ("text", "text_pair") if name in answer)
        typer.echo(f"{_readable(answer, width)}  {' '.join(text.split())}"[:room].rstrip())

    return show


def _readable(answer: Answer, width: int) -> str:
    if "embedding" in answer:
        values = answer["embedding"]
        return f"[{' '.join(f'{v:7.4f}' for v in values[:4])} ... {len(values)} numbers]"
    if "value" in answer:
        return f"{answer['value']:9.4f}"
    return f"{answer['label']:{width}} {answer['score']:6.3f}"
