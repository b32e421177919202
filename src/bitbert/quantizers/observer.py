"""What calibration remembers of an activation: an evenly spaced sample of each batch, whatever its size."""

from __future__ import annotations

import torch
from torch import Tensor

SAMPLE_PER_BATCH = 65_536


class SampleObserver:
    """Collects up to `SAMPLE_PER_BATCH` numbers of every batch, evenly spaced, and the extremes."""

    def __init__(self) -> None:
        """Start empty."""
        self._parts: list[Tensor] = []

    def add(self, x: Tensor) -> None:
        """Sample one batch of any shape."""
        flat = x.flatten().float()
        stride = max(1, len(flat) // SAMPLE_PER_BATCH)
        self._parts.append(torch.cat([flat[::stride], torch.stack(torch.aminmax(flat))]))

    def take(self) -> Tensor:
        """All samples as one vector; empties the observer."""
        if not self._parts:
            raise ValueError("no calibration batch was seen")
        sample = torch.cat(self._parts)
        self._parts.clear()
        return sample
