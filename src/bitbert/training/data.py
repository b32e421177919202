"""Data for training and evaluation: a task by name or the user's own files, checked, as splits of one shape.

Whatever the source, every split has the columns of its kind: texts have `text`, `text_pair` (pairs only) and `label`
(class id, or a float for a regression); questions and words have those of `rows.py`. Nothing is tokenized here. Nothing
reaches the network unless `download` is true.

The rows of a part are fixed: `max_train` takes the first rows of `numpy.random.default_rng(seed).permutation(rows)`,
with seed 0 unless another is given, so "16,000 sentences of SST-2" names one set of sentences.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from datasets import Dataset

from bitbert.columns import check_columns, read_columns
from bitbert.errors import DataError
from bitbert.training.rows import check_scheme, check_words, question_rows, word_rows
from bitbert.training.tasks import Task, find_task

SPLITS = ("train", "validation", "test")
HUB_GLUE = "nyu-mll/glue"
# Where the hub has the other tasks: name and revision. WNUT-17's main branch holds a script, which is not run.
HUB = {"squad": ("rajpurkar/squad", None), "wnut17": ("leondz/wnut_17", "refs/convert/parquet")}

Contents = Literal["texts", "answering", "tagging"]


@dataclass(frozen=True)
class TaskData:
    """A task and its splits, by name: datasets with the columns of the task's kind."""

    task: Task
    splits: dict[str, Dataset]

    def split(self, name: str) -> Dataset:
        """The split of this name; raises `DataError` with those that there are."""
        if name not in self.splits:
            raise DataError(f"{self.task.name}: no split {name!r}; there are {', '.join(self.splits)}")
        return self.splits[name]


@dataclass(frozen=True)
class _Source:
    """One split before labels are understood; `where` names it in errors."""

    where: str
    texts: tuple[list[Any], ...]
    labels: list[Any]


def load_task(
    name: str | None = None,
    *,
    data_dir: Path | None = None,
    download: bool = False,
    train_file: Path | None = None,
    validation_file: Path | None = None,
    test_file: Path | None = None,
    text_columns: Sequence[str] = ("text",),
    label_column: str = "label",
    contents: Contents = "texts",
    regression: bool | None = None,
    label2id: Mapping[str, int] | None = None,
    max_train: int | None = None,
    validation_split: float = 0.1,
    seed: int = 0,
) -> TaskData:
    """Read a task by name, or a user's own CSV, JSONL or Parquet files.

    Its files are `data_dir`/name/{train,validation,test}.parquet, or the hub's where `download` is true.
    Own files have one or two `text_columns`; their labels are classes, or numbers if `regression` (None: if any has a
    fraction). With `contents` "answering" they have the columns question, context and answers, with "tagging" words and
    tags, as `rows.py` says. Class ids follow `label2id` where a model has names of its own, else the sorted names in
    the training file (numbers by value). A missing validation file is replaced by `validation_split` of the training
    rows, with the same share of each class. A test split without labels (all -1) is left out. Raises `DataError`.
    """
    files = {split: Path(f) for split, f in zip(SPLITS, (train_file, validation_file, test_file), strict=True) if f}
    if name is not None:
        if files:
            raise DataError(f"task {name!r} has data of its own: give either a task or files, not both")
        task = find_task(name)
        sources = _named_sources(task, data_dir, download)
    else:
        task = _own_task(files, contents, text_columns, label_column)
        sources = {split: _source(task, path.name, _read(task, path)) for split, path in files.items()}
    sources = {split: s for split, s in sources.items() if split != "test" or not _unlabelled(s)}
    task, splits = _encode(task, sources, regression, label2id)
    if name is None and "train" in splits and "validation" not in splits:
        splits = _hold_out(splits, validation_split, seed)
    if max_train is not None and "train" in splits:
        splits["train"] = _part(splits["train"], max_train, seed)
    return TaskData(task, splits)


# ---- where the rows come from ----------------------------------------------------------------------------------------


def task_data(task: str | TaskData, *, data_dir: Path | None = None, download: bool = False) -> TaskData:
    """`task` itself if it is data, else the task of that name."""
    return task if isinstance(task, TaskData) else load_task(task, data_dir=data_dir, download=download)


def _own_task(files: Mapping[str, Path], contents: Contents, text_columns: Sequence[str], label_column: str) -> Task:
    if not files:
        raise DataError("no data: give a task (--task sst2) or a file (--train-file train.csv)")
    if contents != "texts" and (*text_columns, label_column) != ("text", "label"):
        raise DataError("the columns of questions and of tagged words have fixed names: see bitbert finetune --help")
    if contents == "answering":
        return Task(next(iter(files.values())).stem, contents, ("question", "context"), "answers")
    if contents == "tagging":
        return Task(next(iter(files.values())).stem, contents, ("words",), "tags")
    if not 1 <= len(text_columns) <= 2:
        raise DataError(f"{len(text_columns)} text columns are not supported: give one, or two for pairs of texts")
    return Task(next(iter(files.values())).stem, "classification", tuple(text_columns), label_column)


def _named_sources(task: Task, data_dir: Path | None, download: bool) -> dict[str, _Source]:
    if data_dir is not None:
        paths = _task_files(task, Path(data_dir))
        return {split: _source(task, str(path), _read(task, path)) for split, path in paths.items()}
    if download:
        tables = _from_hub(task)
        return {split: _source(task, f"{task.name} {split} of the hub", table) for split, table in tables.items()}
    raise DataError(
        f"task {task.name}: no data; give --data-dir DIR with DIR/{task.name}/train.parquet, or --download for the hub"
    )


def _task_files(task: Task, data_dir: Path) -> dict[str, Path]:
    directory = data_dir / task.name
    paths = {split: directory / f"{split}.parquet" for split in SPLITS}
    found = {split: path for split, path in paths.items() if path.is_file()}
    if not found:
        wanted = ", ".join(f"{split}.parquet" for split in SPLITS)
        raise DataError(f"{directory}: no such directory, or none of {wanted} in it")
    return found


def _from_hub(task: Task) -> dict[str, dict[str, list[Any]]]:
    from datasets import load_dataset

    try:
        hub = load_dataset(HUB_GLUE, task.name) if task.name not in HUB else _other_hub(task)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"task {task.name}: cannot be loaded from the hub ({reason}); try --data-dir") from None
    # MNLI's validation and test come twice; the matched ones are those that are usually reported.
    names = {split: split if split in hub else f"{split}_matched" for split in SPLITS}
    return {split: hub[name].to_dict() for split, name in names.items() if name in hub}


def _other_hub(task: Task) -> Mapping[str, Dataset]:
    from datasets import load_dataset

    name, revision = HUB[task.name]
    splits: Mapping[str, Dataset] = load_dataset(name, revision=revision)
    return splits


def _read(task: Task, path: Path) -> dict[str, list[Any]]:
    return read_columns(path, (*task.text_columns, task.label_column))


def _source(task: Task, where: str, columns: Mapping[str, list[Any]]) -> _Source:
    check_columns(where, (*task.text_columns, task.label_column), list(columns))
    texts = tuple(columns[name] for name in task.text_columns)
    if task.kind in ("classification", "regression"):
        texts = tuple([_text(value) for value in column] for column in texts)
    return _Source(where, texts, columns[task.label_column])


def _text(value: Any) -> str:
    return "" if value is None else str(value)


# ---- what the labels mean --------------------------------------------------------------------------------------------


def _unlabelled(source: _Source) -> bool:
    return all(label == -1 for label in source.labels)


def _encode(
    task: Task, sources: Mapping[str, _Source], regression: bool | None, label2id: Mapping[str, int] | None
) -> tuple[Task, dict[str, Dataset]]:
    """Check all labels, settle what kind of task it is, and build the splits."""
    for source in sources.values():
        _check_filled(task, source)
    if task.kind == "answering":
        return task, {split: question_rows(s.where, s.texts, s.labels) for split, s in sources.items()}
    if task.kind == "tagging":
        return _encode_tags(task, sources, label2id)
    first = next(iter(sources.values()))
    own = not task.label_names and not task.is_regression
    if own and (regression or (regression is None and _has_fractions(first.labels))):
        task = replace(task, kind="regression", metrics=("pearson", "spearman"))
    if task.is_regression:
        return task, {split: _dataset(s, _numbers(s)) for split, s in sources.items()}
    classes = _classes(task, first, label2id)
    if "train" in sources:
        _check_classes(task, sources["train"])
    splits = {split: _dataset(s, _class_ids(s, classes)) for split, s in sources.items()}
    return replace(task, label_names=classes.names), splits


def _encode_tags(
    task: Task, sources: Mapping[str, _Source], label2id: Mapping[str, int] | None
) -> tuple[Task, dict[str, Dataset]]:
    for source in sources.values():
        check_words(source.where, source.texts[0], source.labels)
    first = next(iter(sources.values()))
    every = replace(first, labels=[tag for tags in first.labels for tag in tags])
    classes = _classes(task, every, label2id)
    check_scheme(classes.owner, classes.names)
    known = (classes.ids, classes.names, classes.owner)
    splits = {split: word_rows(s.where, s.texts[0], s.labels, *known) for split, s in sources.items()}
    return replace(task, label_names=classes.names), splits


def _dataset(source: _Source, labels: Sequence[float]) -> Dataset:
    columns = dict(zip(("text", "text_pair"), source.texts, strict=False))
    return Dataset.from_dict({**columns, "label": labels})


def _check_filled(task: Task, source: _Source) -> None:
    for row, label in enumerate(source.labels, 1):
        blank = isinstance(label, str) and not label.strip()
        if label is None or blank or (isinstance(label, float) and math.isnan(label)):
            raise DataError(f"{source.where}: row {row} has an empty label (column {task.label_column!r})")


def _check_classes(task: Task, train: _Source) -> None:
    classes = {_class_name(label) for label in train.labels}
    if len(classes) == 1:
        raise DataError(
            f"{train.where}: every row has the label {classes.pop()!r} (column {task.label_column!r}); "
            "a classifier needs at least two"
        )


def _number(label: Any) -> float | None:
    """The label as a finite number, None if it is not one."""
    try:
        value = float(label)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _has_fractions(labels: Iterable[Any]) -> bool:
    numbers = [_number(label) for label in labels]
    return None not in numbers and not all(n is not None and n.is_integer() for n in numbers)


def _numbers(source: _Source) -> list[float]:
    numbers = []
    for row, label in enumerate(source.labels, 1):
        number = _number(label)
        if number is None:
            raise DataError(f"{source.where}: row {row}: the label {label!r} is not a number, as a regression needs")
        numbers.append(number)
    return numbers


def _class_name(label: Any) -> str:
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


@dataclass(frozen=True)
class _Classes:
    """Class names by id, the ids of everything that a file may hold for them, and who says so."""

    names: tuple[str, ...]
    ids: Mapping[str, int]
    owner: str


def _classes(task: Task, first: _Source, label2id: Mapping[str, int] | None) -> _Classes:
    """The model's names if it has any, else the task's, else those in the data, sorted."""
    given = _given_names(label2id)
    if task.label_names:
        names = _in_order_of(given, task) if given else task.label_names
        numbers = {str(i): names.index(name) for i, name in enumerate(task.label_names)}
        return _Classes(names, numbers | _by_id(names), f"task {task.name}")
    if given:
        return _Classes(given, {str(i): i for i in range(len(given))} | _by_id(given), "the model")
    found = {_class_name(label) for label in first.labels}
    names = tuple(sorted(found, key=float if all(_number(name) is not None for name in found) else None))
    if label2id is not None and len(label2id) != len(names):
        raise DataError(f"{first.where}: there are {len(names)} labels, but the model has {len(label2id)}")
    return _Classes(names, _by_id(names), first.where)


def _by_id(names: Sequence[str]) -> dict[str, int]:
    return {name: i for i, name in enumerate(names)}


def _given_names(label2id: Mapping[str, int] | None) -> tuple[str, ...]:
    """The names of a model's labels by id; none if they are the placeholders that transformers fills in."""
    if not label2id or all(re.fullmatch(r"LABEL_\d+", name) for name in label2id):
        return ()
    return tuple(sorted(label2id, key=lambda name: label2id[name]))


def _in_order_of(given: Sequence[str], task: Task) -> tuple[str, ...]:
    order = [name.casefold() for name in given]
    if sorted(order) != sorted(map(str.casefold, task.label_names)):
        raise DataError(
            f"task {task.name} has the labels {', '.join(task.label_names)}, but the model has {', '.join(given)}"
        )
    return tuple(sorted(task.label_names, key=lambda name: order.index(name.casefold())))


def _class_ids(source: _Source, classes: _Classes) -> list[int]:
    names = [_class_name(label) for label in source.labels]
    for row, name in enumerate(names, 1):
        if name not in classes.ids:
            raise DataError(
                f"{source.where}: row {row}: unknown label {name!r}; {classes.owner} has {', '.join(classes.names)}"
            )
    return [classes.ids[name] for name in names]


# ---- which rows are taken --------------------------------------------------------------------------------------------


def _hold_out(splits: Mapping[str, Dataset], fraction: float, seed: int) -> dict[str, Dataset]:
    """Move a share of the training rows to `validation`: the same of every class, or all questions on some contexts."""
    train = splits["train"]
    if "context" in train.column_names:
        contexts, of_row = np.unique(train["context"][:], return_inverse=True)
        held = stratified(np.zeros(len(contexts)), fraction, seed)[of_row]
    else:
        labels = train["label"][:] if "label" in train.column_names else np.zeros(len(train))
        held = stratified(np.asarray(labels), fraction, seed)
    if not 0 < held.sum() < len(train):
        raise DataError(
            f"{len(train)} training rows are too few to hold out {fraction:g} of them; give --validation-file"
        )
    parts = {"train": train.select(np.flatnonzero(~held)), "validation": train.select(np.flatnonzero(held))}
    return {**parts, **{split: data for split, data in splits.items() if split != "train"}}


def stratified(labels: npt.NDArray[Any], fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """A random mask over `labels` (N,) of `fraction` of the rows, spread evenly over the sorted labels.

    >>> stratified(np.array([0, 1] * 10), 0.1, seed=0).sum()
    np.int64(2)
    """
    if not 0 < fraction < 1:
        raise DataError(f"a held-out share of {fraction:g} is not supported, expected a number between 0 and 1")
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    steps = np.floor(np.arange(len(labels) + 1) * fraction + 0.5)
    mask = np.zeros(len(labels), bool)
    mask[order[np.diff(steps) > 0]] = True
    return mask


def _part(train: Dataset, rows: int, seed: int) -> Dataset:
    if rows < 1:
        raise DataError(f"{rows} training rows are not supported: --max-train is 1 or more")
    return train.select(np.random.default_rng(seed).permutation(len(train))[:rows])
