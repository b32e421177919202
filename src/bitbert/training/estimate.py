"""How long a training will take, said before it begins: a few forward passes of the float model, times what a step is.

A step is worth about 4 of them, with a teacher 6: forward, backward and optimizer, and rounding everywhere. On a CPU
that was so for all widths within a fifth.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bitbert.recipes.schema import Stage
from bitbert.training.encode import some_batches
from bitbert.training.progress import say
from bitbert.training.stages import steps_of
from bitbert.training.trainer import bfloat16_is_fast

FORWARD_PASSES = {False: 4.0, True: 6.0}  # in a step, without and with a teacher
BATCHES, BATCH_SIZE = 8, 32  # that are run for it


def announce(
    title: str,
    model: PreTrainedModel,
    stages: Sequence[Stage],
    rows: Callable[[Stage | None], Dataset],
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
) -> None:
    """Say on standard error how much there is to do; `rows` gives the training rows of a stage (None: as given)."""
    texts = rows(None)
    batches = some_batches(texts, tokenizer, BATCH_SIZE, BATCHES, seed)
    length = sum(texts["length"]) / len(texts)
    steps, seconds = estimate(model, stages, lambda stage: len(rows(stage)), length, batches)
    say(f"{title}: {steps:,} steps, about {in_words(seconds)} on this machine")


def estimate(
    model: PreTrainedModel,
    stages: Sequence[Stage],
    rows: Callable[[Stage], int],
    length: float,
    batches: Sequence[dict[str, Tensor]],
) -> tuple[int, float]:
    """Steps and seconds of all stages together.

    `rows` is the number of training rows of a stage, `length` their tokens on average; `batches` are some of them,
    which may be longer or shorter.
    """
    _seconds(model, batches)  # the first pass of a shape prepares it
    a_text = length * _seconds(model, batches) / sum(batch["input_ids"].numel() for batch in batches)
    steps = [steps_of(stage, rows(stage)) for stage in stages]
    texts = [FORWARD_PASSES[s.losses.needs_teacher] * s.batch_size * n for s, n in zip(stages, steps, strict=True)]
    return sum(steps), a_text * sum(texts)


def in_words(seconds: float) -> str:
    """A time as one says it.

    >>> in_words(40), in_words(70), in_words(100), in_words(5000)
    ('less than a minute', 'a minute', '2 minutes', '1.4 hours')
    """
    if seconds < 90:
        return "a minute" if seconds >= 60 else "less than a minute"
    return f"{seconds / 60:.0f} minutes" if seconds < 3600 else f"{seconds / 3600:.1f} hours"


@torch.no_grad()
def _seconds(model: PreTrainedModel, batches: Sequence[dict[str, Tensor]]) -> float:
    """Of one forward pass of each batch."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    nn.Module.to(model, device).eval()
    began = time.perf_counter()
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16_is_fast()):
        for batch in batches:
            model(**{name: x.to(device) for name, x in batch.items()})
    return time.perf_counter() - began
