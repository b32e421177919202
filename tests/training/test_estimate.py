"""How long a training will take: counted right, timed about right."""

import time

import pytest
import torch

from bitbert.recipes.schema import Losses, Stage
from bitbert.training.estimate import FORWARD_PASSES, estimate

SECONDS = 0.02


class Slow(torch.nn.Module):
    """A model that takes so long for a batch."""

    def forward(self, **inputs):
        time.sleep(SECONDS)


BATCHES = [{"input_ids": torch.zeros(8, 30)}] * 4  # ten times as long as rows are on average


@pytest.mark.parametrize(
    ("stages", "steps", "texts"),
    [
        ([Stage(epochs=2.0, batch_size=8)], 25, 4 * 200),
        ([Stage(epochs=2.0, batch_size=8, losses=Losses(hidden=1.0))], 25, 6 * 200),
        ([Stage(epochs=2.0, batch_size=8, min_steps=40)], 40, 4 * 320),
        ([Stage(epochs=1.0, batch_size=8, copies=3), Stage(epochs=1.0, batch_size=4)], 75, 4 * (400 + 100)),
    ],
)
def test_steps_and_seconds_of_all_stages(stages, steps, texts):
    counted, seconds = estimate(Slow(), stages, lambda stage: 100 * (1 + stage.copies), 3.0, BATCHES)
    assert counted == steps
    assert SECONDS / 8 * texts <= 10 * seconds < 3 * SECONDS / 8 * texts
    assert set(FORWARD_PASSES.values()) == {4.0, 6.0}
