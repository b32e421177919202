"""Rows of questions and of tagged words, as files hold them -> splits for training, each row checked.

Questions are as in SQuAD: `answers` is {"text": [...], "answer_start": [...]}, places in characters of the context.
Words and their tags are two lists of one length; tags are names (O, B-x, I-x) or their numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset

from bitbert.errors import DataError


def question_rows(where: str, pairs: Sequence[Sequence[Any]], answers: Sequence[Any]) -> Dataset:
    """A split with columns question, context, answers (texts) and starts (characters); `where` names it in errors.

    `pairs` are all questions, then all contexts. Raises `DataError` for a row without question, context or answer, and
    for an answer that is not in its context.
    """
    columns: dict[str, list[Any]] = {"question": [], "context": [], "answers": [], "starts": []}
    for row, (question, context, given) in enumerate(zip(*pairs, answers, strict=True), 1):
        _check_text(f"{where}: row {row}", "question", question)
        _check_text(f"{where}: row {row}", "context", context)
        texts, starts = _answers(f"{where}: row {row}", given)
        _check_places(f"{where}: row {row}", context, texts, starts)
        for name, value in zip(columns, (question, context, texts, starts), strict=True):
            columns[name].append(value)
    return Dataset.from_dict(columns)


def word_rows(
    where: str, words: Sequence[Any], tags: Sequence[Any], ids: Mapping[str, int], names: Sequence[str], owner: str
) -> Dataset:
    """A split with columns words and tags (numbers, by `ids` from what the file has); `owner` says whose `names` are.

    Raises `DataError` for words without tags, tags without words, and tags that are not known.
    """
    columns: dict[str, list[Any]] = {"words": [], "tags": []}
    for row, (one, other) in enumerate(zip(words, tags, strict=True), 1):
        for tag in other:
            if str(tag) not in ids:
                raise DataError(f"{where}: row {row}: unknown tag {str(tag)!r}; {owner} has {', '.join(names)}")
        columns["words"].append(one)
        columns["tags"].append([ids[str(tag)] for tag in other])
    return Dataset.from_dict(columns)


def check_words(where: str, words: Sequence[Any], tags: Sequence[Any]) -> None:
    """Raise `DataError` for the first row that is not two lists of one length, 1 or more, the words being texts."""
    for row, (one, other) in enumerate(zip(words, tags, strict=True), 1):
        if not isinstance(one, list) or not isinstance(other, list):
            raise DataError(
                f"{where}: row {row}: words and tags must be lists, not {one if not isinstance(one, list) else other!r}"
                " (CSV cannot hold them: use JSONL or Parquet)"
            )
        if not one:
            raise DataError(f"{where}: row {row} has no words")
        if len(one) != len(other):
            raise DataError(f"{where}: row {row} has {len(one)} words, but {len(other)} tags")
        if not all(isinstance(word, str) for word in one):
            raise DataError(f"{where}: row {row}: words must be texts, not {one!r:.60}")


def check_scheme(where: str, names: Sequence[str]) -> None:
    """Raise `DataError` for a tag that says neither where an entity begins nor where it goes on."""
    for name in names:
        if name != "O" and not (name[:2] in ("B-", "I-") and name[2:]):
            raise DataError(f"{where}: tag {name!r} is not of the IOB2 scheme, expected O, B-kind or I-kind")


def _check_text(where: str, name: str, value: Any) -> None:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise DataError(f"{where} has an empty {name}")
    if not isinstance(value, str):
        raise DataError(f"{where}: the {name} {value!r:.60} is no text")


def _answers(where: str, given: Any) -> tuple[list[str], list[int]]:
    texts, starts = (given.get("text"), given.get("answer_start")) if isinstance(given, Mapping) else (None, None)
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        raise DataError(
            f'{where}: answers must be {{"text": [...], "answer_start": [...]}}, two lists of one length, '
            f"not {given!r:.60} (CSV cannot hold them: use JSONL or Parquet)"
        )
    if not texts:
        raise DataError(f"{where} has no answer: every question needs one in its context")
    return texts, starts


def _check_places(where: str, context: str, texts: Sequence[Any], starts: Sequence[Any]) -> None:
    for text, start in zip(texts, starts, strict=True):
        _check_text(where, "answer", text)
        if not isinstance(start, int) or start < 0 or not context.startswith(text, start):
            there = f"it stands at {context.find(text)}" if text in context else "it stands nowhere in it"
            raise DataError(f"{where}: the answer {text!r:.60} is not at {start!r} of its context: {there}")
