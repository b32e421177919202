"""Training checkpoints: when one is written, and from which one a run goes on.

What stands in one is `Trainer`'s affair: weights, optimizer, schedule, random numbers, place in the data.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

SHARE = 0.02  # of the time of training that may go into writing checkpoints
AT_LEAST = 30.0  # seconds between two of them, unless others are asked for


class Checkpoints(TrainerCallback):
    """Asks for a checkpoint every `seconds`; None: as often as writing them takes no more than `SHARE` of the time.

    One is written only where the loss is logged, so that the history in it is whole. Every entry of the history says in
    `seconds` how long training took up to there, in this run and in those that it goes on from.
    """

    def __init__(self, seconds: float | None = None) -> None:
        """With 0, one at every logged step."""
        self._seconds = seconds
        self._gap = AT_LEAST if seconds is None else seconds

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock, where it stood when the run was cut off."""
        before = max((entry.get("seconds", 0.0) for entry in state.log_history), default=0.0)
        self._start, self._last = time.perf_counter() - before, time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Log the last step, whatever its number."""
        if state.global_step == state.max_steps:
            control.should_log = True

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Note the time; ask for a checkpoint if one is due."""
        now = time.perf_counter()
        state.log_history[-1]["seconds"] = now - self._start
        if now - self._last >= self._gap:
            control.should_save = True
        self._asked = now

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Measure what it took."""
        self._last = time.perf_counter()
        if self._seconds is None:
            self._gap = max(AT_LEAST, (self._last - self._asked) / SHARE)


def last_checkpoint(directory: Path) -> Path | None:
    """The newest whole checkpoint in `directory`, if there is one; those that a kill left half-written are removed."""
    found = [path for path in directory.glob("checkpoint-*") if path.is_dir()]
    whole = [path for path in found if _is_whole(path)]
    for path in set(found) - set(whole):
        shutil.rmtree(path)
    return max(whole, key=lambda path: int(path.name.split("-")[1]), default=None)


def _is_whole(checkpoint: Path) -> bool:
    """Whether its state, which `Trainer` writes last, can be read to the end."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True
