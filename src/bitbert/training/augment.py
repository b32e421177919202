"""Data augmentation: new training texts from those that there are, by exchanging words (TinyBERT, Jiao et al. 2020).

Each word of a text that is no stop word is replaced with a probability (0.4) by one of its candidates (15), taken from
the checkpoint (`candidates.py`); this is done `copies` times for every text, and what comes out twice is kept once. Of
a pair one text changes at a time, the first and the second by turns. The gold label is carried along, but a changed
text may no longer deserve it: a stage that trains on such texts learns from a teacher, with `losses.labels` 0.

Departures: neighbours come from the checkpoint's embedding table instead of GloVe's; words of several pieces stay;
a pair has `copies` new pairs instead of as many for either text.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset
from datasets.table import InMemoryTable

from bitbert.checkpoint.atomic import new_directory
from bitbert.errors import DataError, ModelError
from bitbert.training.candidates import Slot, WholeWords, from_neighbours, from_predictions, neighbours
from bitbert.training.models import load_masked_lm, load_pretrained, load_tokenizer
from bitbert.training.progress import counted
from bitbert.training.tasks import Task

COPIES = {"cola": 30, "mrpc": 30, "stsb": 30, "rte": 30, "sst2": 20, "qnli": 20, "mnli": 10, "qqp": 10}
OTHER_COPIES = 20
ROWS_AT_ONCE = 4096  # texts whose new ones are written together

_SETTINGS, _TEXTS = "settings.json", "texts.parquet"


def default_copies(task: Task) -> int:
    """New texts for each one as TinyBERT has them, 20 for tasks that it does not know."""
    return COPIES.get(task.name, OTHER_COPIES)


def augmented(
    data: Dataset,
    task: Task,
    model: str | Path,
    *,
    copies: int,
    cache: Path,
    probability: float = 0.4,
    candidates: int = 15,
    seed: int = 42,
    title: str | None = None,
) -> Dataset:
    """The new texts alone, with the columns of `data`: up to `copies` for each of its rows, in their order.

    `data` is a split of texts or pairs; `model` a local checkpoint. The result is a function of both, the settings and
    the seed, and is kept in `cache`, from where the same call reads it again. `title` names a progress bar (None: no
    bar). Raises `DataError` for tasks without texts, `ModelError` for a checkpoint that cannot be used.
    """
    if task.kind not in ("classification", "regression"):
        raise DataError(f"{task.name}: {task.kind} cannot be augmented, only the texts of classification or regression")
    amounts = {"copies": copies, "probability": probability, "candidates": candidates, "seed": seed}
    model_digest = _digest_of_model(Path(model))
    settings = amounts | {"data": _digest_of_data(data), "model": model_digest}
    place = Path(cache) / f"augmented-{_key(settings)}"
    if not _is_whole(place, settings):
        slots = _slots(data, task, model, candidates, Path(cache), model_digest)
        new = _new_rows(data, slots, copies, probability, seed)
        with new_directory(place, replace=True) as partial, counted(title, len(data), "texts") as advance:
            _write(partial, data, new, advance, settings)
    return Dataset(InMemoryTable(pq.read_table(place / _TEXTS, schema=data.features.arrow_schema)), split=data.split)


# ---- new rows --------------------------------------------------------------------------------------------------------


def _slots(
    data: Dataset, task: Task, model: str | Path, candidates: int, cache: Path, model_digest: str
) -> Iterator[tuple[list[Slot], ...]]:
    """The slots of every text of every row."""
    tokenizer = load_tokenizer(model)
    words = WholeWords(tokenizer)
    columns = [data[name] for name in _text_columns(data)]
    if (masked_lm := load_masked_lm(model)) is not None:
        sources = [from_predictions(texts, words, masked_lm, tokenizer, candidates) for texts in columns]
    else:
        table = load_pretrained(model, task).get_parameter("bert.embeddings.word_embeddings.weight").detach()
        place = cache / f"neighbours-{_key({'model': model_digest, 'candidates': candidates})}"
        near = neighbours(table, words, candidates, place)
        sources = [from_neighbours(texts, words, near) for texts in columns]
    return zip(*sources, strict=True)


def _new_rows(
    data: Dataset, slots: Iterable[tuple[list[Slot], ...]], copies: int, probability: float, seed: int
) -> Iterator[list[dict[str, Any]]]:
    """For each row of `data` its new rows, none of them twice and none like itself."""
    names = _text_columns(data)
    for number, (row, of_row) in enumerate(zip(data, slots, strict=True)):
        generator = np.random.default_rng((seed, number))
        new: dict[tuple[str, ...], dict[str, Any]] = {}
        columns = itertools.cycle(zip(names, of_row, strict=True))
        for name, of_text in itertools.islice(columns, copies):
            changed = row | {name: exchanged(row[name], of_text, probability, generator)}
            new.setdefault(tuple(changed[name] for name in names), changed)
        new.pop(tuple(row[name] for name in names), None)
        yield list(new.values())


def exchanged(text: str, slots: Sequence[Slot], probability: float, generator: np.random.Generator) -> str:
    """`text` with the word in each slot replaced, with `probability`, by one of its candidates.

    >>> slots = [Slot(0, 1, ("x",)), Slot(2, 3, ("y", "z"))]
    >>> exchanged("a b c", slots, 1.0, np.random.default_rng(0))
    'x z c'
    """
    parts, end = [], 0
    for slot, draw in zip(slots, generator.random(len(slots)), strict=True):
        if draw < probability and slot.words:
            parts += [text[end : slot.start], slot.words[generator.integers(len(slot.words))]]
            end = slot.end
    return "".join([*parts, text[end:]])


def _text_columns(data: Dataset) -> list[str]:
    return [name for name in ("text", "text_pair") if name in data.column_names]


# ---- the cache -------------------------------------------------------------------------------------------------------


def _write(
    directory: Path,
    data: Dataset,
    new: Iterator[list[dict[str, Any]]],
    advance: Callable[..., None],
    settings: Mapping[str, Any],
) -> None:
    schema = data.features.arrow_schema
    with pq.ParquetWriter(directory / _TEXTS, schema) as writer:
        while block := list(itertools.islice(new, ROWS_AT_ONCE)):
            rows = [row for of_row in block for row in of_row]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            advance(len(block))
    facts = {**settings, "sha256": _digest_of_file(directory / _TEXTS)}
    (directory / _SETTINGS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _is_whole(directory: Path, settings: Mapping[str, Any]) -> bool:
    """Whether `directory` holds what these settings give, as it was written."""
    try:
        facts = json.loads((directory / _SETTINGS).read_text(encoding="utf-8"))
        return bool(facts == {**settings, "sha256": _digest_of_file(directory / _TEXTS)})
    except (OSError, ValueError):
        return False


def _key(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _digest_of_data(data: Dataset) -> str:
    sha256 = hashlib.sha256()
    for row in data:
        sha256.update(json.dumps(row).encode())
    return sha256.hexdigest()


def _digest_of_model(model: Path) -> str:
    """SHA-256 of the files that say what a checkpoint answers."""
    files = [file for suffix in ("json", "txt", "safetensors", "bin") for file in sorted(model.glob(f"*.{suffix}"))]
    if not files:
        raise ModelError(f"no model directory {str(model)!r}: augmentation needs the checkpoint on this machine")
    return hashlib.sha256("".join(f"{file.name} {_digest_of_file(file)} " for file in files).encode()).hexdigest()


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
