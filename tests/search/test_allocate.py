"""Allocation: the best of all assignments where all can be tried, near the lower bound where they cannot."""

import itertools

import numpy as np
import pytest

from bitbert.errors import SearchError
from bitbert.search.allocate import GAP, allocate, total


def every_assignment(costs, prices):
    """(cost, price) of each."""
    for chosen in itertools.product(range(costs.shape[1]), repeat=len(costs)):
        found = np.array(chosen)
        if np.isfinite(cost := total(costs, found)):
            yield cost, total(prices, found)


@pytest.mark.parametrize("seed", range(60))
def test_nothing_is_better(seed):
    rng = np.random.default_rng(seed)
    costs, prices = rng.random((5, 3)), rng.integers(0, 9, (5, 3)).astype(float)
    costs[1:, 1:][rng.random((4, 2)) < 0.2] = np.inf
    budget = float(rng.integers(12, 30))
    floor = 0.9 * budget if seed % 2 else 0.0
    every = list(every_assignment(costs, prices))
    within = [cost for cost, price in every if price <= budget]
    if not within:
        with pytest.raises(SearchError, match="no assignment is within"):
            allocate(costs, prices, budget, floor)
        return
    chosen = allocate(costs, prices, budget, floor)
    floor = min(floor, max(price for _, price in every))
    while not any(floor <= price <= budget for _, price in every):
        floor = max(0.0, 2 * floor - budget)
    best = min(cost for cost, price in every if floor <= price <= budget)
    assert total(prices, chosen) <= budget
    assert total(costs, chosen) == pytest.approx(best, rel=GAP)


@pytest.fixture(scope="module")
def encoder():
    """Costs and prices like those of a BERT-base: 5,000 groups, most cheap to quantize and some very dear."""
    rng = np.random.default_rng(0)
    prices = np.outer(np.where(rng.random(5000) < 0.8, 16 * 768, 16 * 3072), [0, 0.25, 0.5, 1])
    scale = 1e-7 * np.exp(rng.normal(0, 2, (5000, 1)))
    return scale * np.array([1.0, 0.2, 0.01, 5e-5]) * np.exp(rng.normal(0, 0.2, (5000, 4))), prices


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_five_thousand_groups_end_near_the_lower_bound(encoder, share):
    costs, prices = encoder
    budget = share * prices[:, -1].sum()
    chosen = allocate(costs, prices, budget, 0.99 * budget)
    assert 0.99 * budget <= total(prices, chosen) <= budget
    rates = np.geomspace(1e-15, 1e-10, 2000)
    bounds = [(costs + rate * prices).min(axis=1).sum() - rate * budget for rate in rates]
    assert total(costs, chosen) <= max(bounds) * 1.003


def test_the_unconstrained_best_is_taken_where_it_fits():
    costs = np.array([[2.0, 1.0, 3.0]] * 4)
    assert allocate(costs, np.tile([0.0, 1.0, 2.0], (4, 1)), budget=4.0, floor=3.9).tolist() == [1] * 4


def test_a_floor_makes_it_spend():
    """As learned probabilities may want less than there is."""
    costs, prices = np.tile([0.0, 1.0, 3.0], (200, 1)), np.tile([0.0, 1.0, 2.0], (200, 1))
    chosen = allocate(costs, prices, budget=200.0, floor=198.0)
    assert total(prices, chosen) == 198
    assert total(costs, chosen) == 198


def test_a_floor_that_cannot_be_had_is_lowered():
    assert allocate(np.array([[0.0, 1.0]]), np.array([[0.0, 3.0]]), budget=10.0, floor=9.9).tolist() == [1]
    costs, prices = np.tile([0.0, 1.0], (3, 1)), np.tile([0.0, 100.0], (3, 1))
    assert total(prices, allocate(costs, prices, budget=299.0, floor=296.0)) == 200


def test_equal_items_fill_the_budget():
    costs, prices = np.tile([4.0, 2.0, 0.0], (100, 1)), np.tile([0.0, 1.0, 2.0], (100, 1))
    assert total(prices, allocate(costs, prices, budget=77.0)) == 77
