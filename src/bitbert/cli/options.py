"""Options that several commands share, and the data and labels that they stand for. Not a command."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from bitbert.errors import ModelError

if TYPE_CHECKING:
    from bitbert.training.data import TaskData

_DATA, _RUN = "Data", "Run"

Task = Annotated[
    str | None,
    typer.Option(
        "--task",
        help="By name: sst2, cola, mrpc, stsb, qnli, rte, qqp or mnli of GLUE, squad, or wnut17.",
        rich_help_panel=_DATA,
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where the task's data lie: DIR/TASK/train.parquet, ...", rich_help_panel=_DATA),
]
Download = Annotated[
    bool, typer.Option("--download", help="Fetch a task, or a model by name, from the hub.", rich_help_panel=_DATA)
]
TrainFile = Annotated[
    Path | None, typer.Option("--train-file", help="Own data: CSV, JSONL or Parquet.", rich_help_panel=_DATA)
]
ValidationFile = Annotated[
    Path | None,
    typer.Option("--validation-file", help="Default: a tenth of the training rows.", rich_help_panel=_DATA),
]
TestFile = Annotated[
    Path | None, typer.Option("--test-file", help="Own data to measure on, too.", rich_help_panel=_DATA)
]
TextColumns = Annotated[
    list[str],
    typer.Option("--text-column", help="Column with the text; give it twice for pairs.", rich_help_panel=_DATA),
]
LabelColumn = Annotated[str, typer.Option("--label-column", help="Column with the label.", rich_help_panel=_DATA)]
Regression = Annotated[
    bool | None,
    typer.Option(
        "--regression/--classification",
        help="What the labels of own data are. Default: numbers if any has a fraction.",
        rich_help_panel=_DATA,
    ),
]
Contents = Annotated[
    Literal["texts", "answering", "tagging"] | None,
    typer.Option(
        "--contents",
        help="What own data hold: texts with labels; questions with answers in contexts (columns question, context,"
        " answers as in SQuAD); words with tags (columns words, tags). Default: by the model's head, else texts.",
        rich_help_panel=_DATA,
    ),
]
MaxTrain = Annotated[
    int | None,
    typer.Option("--max-train", help="Train on this many rows, always the same ones.", rich_help_panel=_DATA),
]

Seed = Annotated[int, typer.Option("--seed", help="Seed of training.", rich_help_panel=_RUN)]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a run that was killed.", rich_help_panel=_RUN)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is at --output.", rich_help_panel=_RUN)]
WorkDir = Annotated[
    Path | None,
    typer.Option("--work-dir", help="Where checkpoints are kept. Default: OUTPUT.work", rich_help_panel=_RUN),
]
TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Write events to OUTPUT.runs for TensorBoard.", rich_help_panel=_RUN)
]
MaxLength = Annotated[
    int | None,
    typer.Option(
        "--max-length",
        min=4,
        help="Tokens at which texts are cut, or of a window of a context. Default: 128, with contexts 384.",
        rich_help_panel=_RUN,
    ),
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads of the engine. Default: every CPU.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]


@dataclass(frozen=True)
class Head:
    """What a model's own head answers with."""

    label2id: dict[str, int]
    regression: bool
    contents: Literal["texts", "answering", "tagging"] = "texts"


_CONTENTS: dict[str, Literal["texts", "answering", "tagging"]] = {
    "BertForSequenceClassification": "texts",
    "BertForQuestionAnswering": "answering",
    "BertForTokenClassification": "tagging",
}


def read_head(model: str) -> Head | None:
    """The head of a local model, float or packed; None for one without a head, or one that cannot be read."""
    try:
        config: Any = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
        contents = _CONTENTS[config["architectures"][0]]
        names = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}  # left out of a config where it is this
        label2id = {str(name): int(i) for i, name in names.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None  # opening the model says what is wrong with it
    regression = config.get("problem_type") == "regression" or len(label2id) == 1
    return Head(label2id, regression and contents == "texts", contents)


@dataclass(frozen=True)
class DataOptions:
    """The options that name data, for commands under `with_data`."""

    task: Task = None
    data_dir: DataDir = None
    download: Download = False
    train_file: TrainFile = None
    validation_file: ValidationFile = None
    test_file: TestFile = None
    text_column: TextColumns = field(default_factory=lambda: ["text"])
    label_column: LabelColumn = "label"
    contents: Contents = None
    regression: Regression = None

    @property
    def given(self) -> bool:
        """Whether any data are named."""
        return any((self.task, self.train_file, self.validation_file, self.test_file))

    def read(self, head: Head | None = None, max_train: int | None = None) -> TaskData:
        """The data; labels are numbered as `head` numbers them."""
        from bitbert.training.data import load_task

        contents, regression = self.contents, self.regression
        if head is not None:
            if contents not in (None, head.contents):
                raise ModelError(f"--contents {contents} does not go with the model, whose head is for {head.contents}")
            contents = contents or head.contents
            regression = head.regression if regression is None else regression
        return load_task(
            self.task,
            data_dir=self.data_dir,
            download=self.download,
            train_file=self.train_file,
            validation_file=self.validation_file,
            test_file=self.test_file,
            text_columns=self.text_column,
            label_column=self.label_column,
            contents=contents or "texts",
            regression=regression,
            label2id=head.label2id if head is not None and not regression else None,
            max_train=max_train,
        )


def with_data(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with an option for each field of `DataOptions` in place of its parameter `data`."""
    signature = inspect.signature(command, eval_str=True)
    annotations = get_type_hints(DataOptions, include_extras=True)
    standard = DataOptions()
    spread = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=getattr(standard, name), annotation=annotation)
        for name, annotation in annotations.items()
    ]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        command(data=DataOptions(**{name: given.pop(name) for name in annotations}), **given)

    parameters = [p for own in signature.parameters.values() for p in (spread if own.name == "data" else [own])]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run
