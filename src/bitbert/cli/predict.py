"""`bitbert predict`: texts in, answers out, as they come. Needs no torch."""

from __future__ import annotations

import itertools
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bitbert.cli import options
from bitbert.cli.output import notices, print_json_line, say
from bitbert.cli.texts import from_file, from_lines
from bitbert.errors import DataError

if TYPE_CHECKING:
    from bitbert.runtime.model import Model, Prediction
    from bitbert.runtime.tags import Tagged

Answer = dict[str, Any]


def predict(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Packed directory.")],
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="Default: standard input.")] = None,
    text_pair: Annotated[
        str | None, typer.Option("--text-pair", help="Second text of the pair with TEXT; the context of a question.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="CSV, JSONL or Parquet; else one text a line.")
    ] = None,
    text_column: Annotated[
        list[str] | None,
        typer.Option(
            "--text-column",
            help="Column or JSON field with the text; twice for pairs. Default: text; question and context; words.",
        ),
    ] = None,
    embed: Annotated[bool, typer.Option("--embed", help="Give embeddings (mean of all tokens).")] = False,
    threads: options.Threads = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Texts that are answered at a time.")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line on standard output.")] = False,
) -> None:
    """Answer texts with a packed model: labels with scores, numbers, answers to questions, tags, or embeddings.

    Standard input is read as one text a line, or as JSONL if its first line is a JSON object. Questions come with their
    context, as fields question and context; words to be tagged as a list in the field words, or as a text.

    Examples:

    \b
    bitbert predict sst2-w4a8 "a gripping film"
    bitbert predict mrpc-w4a8 "He left." --text-pair "He went away."
    bitbert predict sst2-w4a8 --file reviews.csv --text-column review --json > answers.jsonl
    echo '{"text": "a gripping film"}' | bitbert predict sst2-w4a8 --json
    bitbert predict squad-w4a8 "Who wrote it?" --text-pair "It was written by Ada."
    echo '{"words": ["Ada", "lives", "in", "London"]}' | bitbert predict wnut17-w4a8 --json
    """
    import bitbert

    model = bitbert.load(directory, threads=threads)
    inputs = _inputs(texts or [], text_pair, file, text_column or _FIELDS.get(model.task), model.task == "tagging")
    answer = _embed if embed else _ANSWERS[model.task]
    names = _FIELDS.get(model.task, ["text", "text_pair"])
    show = print_json_line if as_json else _printer(model)
    with notices():
        while batch := list(itertools.islice(inputs, batch_size)):
            for text, found in zip(batch, answer(model, batch), strict=True):
                show(_fields(text, names) | found)
            sys.stdout.flush()


# ---- texts in --------------------------------------------------------------------------------------------------------


def _inputs(
    texts: list[str], pair: str | None, file: Path | None, columns: list[str] | None, words: bool
) -> Iterator[Any]:
    if texts and file is not None:
        raise DataError("give texts or --file, not both")
    if pair is not None and len(texts) != 1:
        raise DataError("--text-pair is the second text of one pair: give exactly one TEXT with it")
    if pair is not None:
        return iter([(texts[0], pair)])
    if texts:
        return iter(texts)
    if file is not None:
        return from_file(file, columns, words=words)
    if sys.stdin.isatty():
        say("Reading texts from the keyboard, one a line; Ctrl-D ends them.")
    return from_lines(sys.stdin, columns, "standard input", words=words)


# ---- answers out -----------------------------------------------------------------------------------------------------


def _predict(model: Model, batch: list[Any]) -> list[Answer]:
    return [_answer(found) for found in model.predict(batch, batch_size=len(batch))]


def _answer(found: Prediction) -> Answer:
    if found.value is not None:
        return {"value": found.value}
    return {"label": found.label, "score": found.score, "scores": found.scores}


def _embed(model: Model, batch: list[Any]) -> list[Answer]:
    return [{"embedding": row.tolist()} for row in model.encode(batch, batch_size=len(batch))]


def _answer_questions(model: Model, batch: list[Any]) -> list[Answer]:
    return [{"answer": f.text, "score": f.score, "start": f.start, "end": f.end} for f in model.answers(batch)]


def _tag(model: Model, batch: list[Any]) -> list[Answer]:
    return [_tags(found) for found in model.tags(batch)]


def _tags(found: Tagged) -> Answer:
    return {
        "tags": [{"word": w.text, "label": w.label, "score": w.score} for w in found.words],
        "entities": [asdict(entity) for entity in found.entities],
    }


_ANSWERS = {"texts": _predict, "answering": _answer_questions, "tagging": _tag}
_FIELDS = {"answering": ["question", "context"], "tagging": ["words"]}


def _fields(text: Any, names: list[str]) -> Answer:
    """The input under the names of its parts; words that came as a text are that text."""
    if isinstance(text, tuple):
        return dict(zip(names, text, strict=True))
    return {names[0] if isinstance(text, list) else "text": text}


def _printer(model: Model) -> Callable[[Answer], None]:
    """Prints a row of a table: the answer in columns of fixed width, then as much of the text as fits the terminal."""
    width = max(map(len, model.labels), default=0)
    room = shutil.get_terminal_size().columns

    def show(answer: Answer) -> None:
        names = ("question", "text", "text_pair", "words")
        parts = [answer[name] for name in names if name in answer]
        text = "  |  ".join(part if isinstance(part, str) else " ".join(part) for part in parts)
        typer.echo(f"{_readable(answer, width)}  {' '.join(text.split())}"[:room].rstrip())

    return show


def _readable(answer: Answer, width: int) -> str:
    if "embedding" in answer:
        values = answer["embedding"]
        return f"[{' '.join(f'{v:7.4f}' for v in values[:4])} ... {len(values)} numbers]"
    if "entities" in answer:
        return "; ".join(f"{e['label']}: {e['text']}" for e in answer["entities"]) or "-"
    if "answer" in answer:
        return f"{answer['score']:6.3f}  {answer['answer']}"
    if "value" in answer:
        return f"{answer['value']:9.4f}"
    return f"{answer['label']:{width}} {answer['score']:6.3f}"
