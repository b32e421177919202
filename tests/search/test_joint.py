"""Widths chosen together: as good as trying all, within the budget, and nearer to the float model than one by one."""

import itertools

import numpy as np
import pytest

from bitbert.recipes.schema import load_recipe
from bitbert.search.allocate import allocate, total
from bitbert.search.budget import Budget
from bitbert.search.joint import joint, refined
from bitbert.search.mixed import MixedModel
from bitbert.search.sensitivity import Effects, effects
from bitbert.search.space import Space
from support.tiny_bert import batch, stock_model

pytestmark = pytest.mark.usefixtures("one_thread")

PRICES = np.array([[1.0, 2.0, 4.0]])


def seen(rng, texts=64, items=6, common=0.0):
    """Moves that shrink as bits grow, with `common` of them the same for all items."""
    size = np.array([1.0, 0.4, 0.1])
    moves = rng.normal(size=(texts, items, 1)) + common * rng.normal(size=(texts, 1, 1))
    return Effects((moves * size).astype(np.float32), np.zeros(texts, np.float32))


def cost(found, chosen, caution):
    moves = found.moves[:, np.arange(len(chosen)), chosen]
    together = np.square(found.missed + moves.sum(axis=1)).mean() / 2
    return together + caution * np.square(moves).mean(axis=0).sum() / 2


@pytest.mark.parametrize("caution", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_as_good_as_trying_all(seed, caution):
    found = seen(np.random.default_rng(seed), common=0.5)
    prices, allowed = np.repeat(PRICES, 6, axis=0), np.ones((6, 3), bool)
    chosen = joint(found, allowed, prices, (0.0, 14.0), caution)
    within = [c for c in itertools.product(range(3), repeat=6) if total(prices, np.array(c)) <= 14]
    best = min(cost(found, np.array(c), caution) for c in within)
    assert total(prices, chosen) <= 14
    assert cost(found, chosen, caution) <= 1.2 * best


def test_errors_that_cancel_cost_nothing_together():
    push = np.random.default_rng(0).normal(size=32)
    moves = np.stack([[push, 0 * push], [-push, 0 * push], [push, 0 * push]]).transpose(2, 0, 1)
    found = Effects(moves.astype(np.float32), np.zeros(32, np.float32))
    prices = np.repeat([[1.0, 2.0]], 3, axis=0)
    chosen = joint(found, np.ones((3, 2), bool), prices, (0.0, 4.0), caution=0.1)
    assert chosen.sum() == 1
    assert chosen[1] == 0


def test_great_caution_takes_each_alone():
    found = seen(np.random.default_rng(1), items=40, common=1.0)
    prices = np.repeat(PRICES, 40, axis=0)
    chosen = joint(found, np.ones((40, 3), bool), prices, (90.0, 100.0), caution=1e6)
    alone = np.square(found.moves).mean(axis=0, dtype=np.float64) / 2
    best = total(alone, allocate(alone, prices, 100.0, 90.0))
    assert total(alone, chosen) == pytest.approx(best, rel=0.02)


@pytest.mark.parametrize("most", [42.0, 100.0, 157.0])
def test_the_budget_is_spent_and_what_is_forbidden_left(most):
    found = seen(np.random.default_rng(2), items=40)
    prices, allowed = np.repeat(PRICES, 40, axis=0), np.ones((40, 3), bool)
    allowed[::4, 1] = False
    chosen = joint(found, allowed, prices, (0.99 * most, most), caution=1.0)
    assert 0.99 * most <= total(prices, chosen) <= most
    assert (chosen[::4] != 1).all()


@pytest.fixture(scope="module")
def mixed():
    model = stock_model("BertForSequenceClassification")
    config = model.config.to_dict() | {"architectures": ["BertForSequenceClassification"]}
    return MixedModel(model, Space.of(config, load_recipe("kdlsq").spec("w8a8"), (0, 2, 3, 4, 8)))


def texts(mixed, count=4):
    return [batch(mixed.model.config, [5, 9, 17, 20] * 8, seed) for seed in range(count)]


def test_refined_is_nearer_than_what_each_would_cost_alone(mixed):
    budget = Budget("average bits", 2.5)
    prices, shown = budget.prices(mixed.space), texts(mixed)
    reference = mixed.answers(shown)
    found = refined(mixed, shown, prices.values, budget.left(prices), seed=0)
    assert budget.left(prices)[0] <= total(prices.values, found.chosen) <= budget.left(prices)[1]
    assert mixed.divergence(shown, reference) == 0
    mixed.put(allocate(found.alone, prices.values, *budget.left(prices)[::-1]))
    alone = mixed.divergence(shown, reference)
    mixed.put(found.chosen)
    assert mixed.divergence(shown, reference) == found.divergence < alone
    mixed.put_floats()
    items = np.arange(len(found.chosen))
    assert found.beside[items, found.chosen] == pytest.approx(found.divergence, rel=0.2)


def test_what_is_missed_is_the_divergence(mixed):
    """Where it is small; and a move back to the float model would take it away."""
    shown = texts(mixed)
    reference = mixed.answers(shown)
    mixed.put(np.full(len(mixed.space.items), 3))
    seen = effects(mixed, shown, reference, seed=0)
    assert np.square(seen.missed).mean() / 2 == pytest.approx(mixed.divergence(shown, reference), rel=0.3)
    mixed.put_floats()
    assert effects(mixed, shown, reference, seed=0).missed == pytest.approx(0, abs=1e-5)
