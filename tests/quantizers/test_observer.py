"""What calibration remembers."""

import pytest
import torch

from bitbert.quantizers.observer import SAMPLE_PER_BATCH, SampleObserver


def test_small_batches_are_kept_whole():
    observer = SampleObserver()
    observer.add(torch.arange(6.0).view(2, 3))
    observer.add(torch.tensor([-9.0]))
    assert set(observer.take().tolist()) == {0, 1, 2, 3, 4, 5, -9}


def test_large_batches_are_sampled_and_their_extremes_kept():
    x = torch.zeros(5 * SAMPLE_PER_BATCH + 3)
    x[1], x[-2] = -7, 8
    observer = SampleObserver()
    observer.add(x)
    sample = observer.take()
    assert len(sample) < 1.3 * SAMPLE_PER_BATCH
    assert (sample.min(), sample.max()) == (-7, 8)


def test_nothing_seen_is_an_error():
    observer = SampleObserver()
    with pytest.raises(ValueError, match="no calibration batch was seen"):
        observer.take()
    observer.add(torch.ones(3))
    observer.take()
    with pytest.raises(ValueError, match="no calibration batch was seen"):
        observer.take()
