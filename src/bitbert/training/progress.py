"""Progress bars on standard error: of a training run, and of any work that is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


def _bar(unit: str) -> Progress:
    """A bar whose tasks have a field `note`, which stands behind it."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
    )


def say(text: str) -> None:
    """A line on standard error."""
    Console(stderr=True).print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def counted(title: str | None, total: int, unit: str) -> Iterator[Callable[..., None]]:
    """Yield `advance(count=1, note=...)`, which moves a bar named `title` on; without a title nothing is shown."""
    if title is None:
        yield lambda count=1, **fields: None
        return
    with _bar(unit) as bar:
        task = bar.add_task(title, total=total, note="")
        yield lambda count=1, **fields: bar.update(task, advance=count, **fields)


class ProgressBar(TrainerCallback):
    """Steps done, time left and the latest loss of one stage."""

    def __init__(self, title: str) -> None:
        """`title` stands before the bar."""
        self._title = title
        self._bar = _bar("steps")

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Show the bar, at the step from which a resumed run goes on."""
        self._bar.start()
        self._task = self._bar.add_task(self._title, total=state.max_steps, completed=state.global_step, note="")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Advance."""
        self._bar.update(self._task, completed=state.global_step)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Show the loss where one was logged."""
        if "loss" in (logs := kwargs.get("logs") or {}):
            self._bar.update(self._task, note=f"loss {float(logs['loss']):.3f}")

    def stop(self) -> None:
        """Leave the bar on the screen as it is."""
        self._bar.stop()
