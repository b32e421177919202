"""Prices in nanoseconds: shared among row groups by their weights, interleaved, medians; and the engine itself."""

import numpy as np
import pytest

from bitbert.bench import price
from bitbert.bench.price import EngineClock
from bitbert.errors import DataError
from bitbert.search.space import Space
from bitbert.spec import QuantSpec
from support.random_model import tiny_config

pytest.importorskip("bitbert._native", reason="the native engine is not built")

MATRICES = ("query, key, value", "attention output", "intermediate", "output", "head")


@pytest.fixture
def space():
    return Space.of(tiny_config(), QuantSpec.uniform(8, 8), (0, 2, 8))


def test_a_kinds_time_is_shared_by_weights(space, monkeypatch):
    """An engine whose matrices take as many ms as they have bits, and all else 5 ms, in all but the first call."""
    order = []

    class Engine:
        def __init__(self, model):
            self.architecture, self.calls = space.architecture, 0
            self.bits = model.spec.weight("pooler.dense.weight").group_bits[0]

        def profile(self, ids, types, *, output, threads):
            assert ([len(x) for x in ids], output, threads) == ([8] * 4, "pooled", 2)
            order.append(self.bits)
            self.calls += 1
            return dict.fromkeys(MATRICES, 1e-3 * self.bits if self.calls > 1 else 1.0) | {"attention": 5e-3}

    monkeypatch.setattr(price, "Engine", Engine)
    prices = EngineClock("4x8", threads=2, rounds=3).prices(space)
    assert order == [2, 8, 8, 2, 2, 8, 8, 2]
    assert prices.fixed == 2.5e6
    assert prices.values.sum(axis=0) == pytest.approx([0, 5 * 1e6, 5 * 4e6], rel=1e-4)
    in_query = prices.values[space.slices["encoder.layer.0.attention.self.query.weight"]]
    assert in_query[:, 2] == pytest.approx(np.full(4, 4e6 / (2 * 3 * 4)), rel=1e-4)


def test_the_engine_itself(space):
    clock = EngineClock("2x16", threads=1, rounds=3)
    prices = clock.prices(space)
    assert not prices.values[:, 0].any()
    assert (prices.values[:, 1:] > 0).all()
    assert prices.fixed > 0
    bits = np.random.default_rng(0).choice(space.choices, len(space.items))
    assert clock.measure(space, bits) > 0


@pytest.mark.parametrize("shape", ["1x41", "1x8,1x16", "8"])
def test_shapes_that_cannot_be(space, shape):
    with pytest.raises(DataError, match=shape):
        EngineClock(shape, threads=1).prices(space)
