"""The progress bar of a training run, on standard error."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class ProgressBar(TrainerCallback):
    """Steps done, time left and the latest loss of one stage."""

    def __init__(self, title: str) -> None:
        """`title` stands before the bar."""
        self._title = title
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[loss]}"),
            console=Console(stderr=True),
        )

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Show the bar, at the step from which a resumed run goes on."""
        self._bar.start()
        self._task = self._bar.add_task(self._title, total=state.max_steps, completed=state.global_step, loss="")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Advance."""
        self._bar.update(self._task, completed=state.global_step)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Show the loss where one was logged."""
        if "loss" in (logs := kwargs.get("logs") or {}):
            self._bar.update(self._task, loss=f"loss {float(logs['loss']):.3f}")

    def stop(self) -> None:
        """Leave the bar on the screen as it is."""
        self._bar.stop()
