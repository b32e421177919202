"""Budgets: prices in small units, how much is left, and which ones make no sense."""

import re

import numpy as np
import pytest

from bitbert.errors import SearchError
from bitbert.search.budget import Budget, Prices
from bitbert.search.size import file_bytes
from bitbert.search.space import Space
from bitbert.spec import QuantSpec
from support.random_model import tiny_config


@pytest.fixture
def space():
    return Space.of(tiny_config(), QuantSpec.uniform(8, 8), (0, 2, 4, 8))


def size(space, bits):
    return file_bytes(space.architecture, space.spec(np.full(len(space.items), bits))) / 2**20


def test_mib_of_the_whole_file(space):
    budget = Budget("MiB", size(space, 4))
    prices = budget.prices(space)
    least, most = budget.left(prices)
    assert prices.values[:, 2].sum() == pytest.approx(most, abs=200)  # a header of more digits
    assert least == pytest.approx(most - 0.01 * budget.limit * 2**20)


def test_average_bits_are_of_weights(space):
    budget = Budget("average bits", 3.0)
    prices = budget.prices(space)
    assert budget.left(prices) == (pytest.approx(0.99 * 3 * space.weights.sum()), 3 * space.weights.sum())
    assert np.array_equal(prices.values[:, 3], 8 * space.weights)


def test_milliseconds_are_the_clocks(space):
    class Clock:
        def prices(self, space):
            return Prices(np.outer(space.weights, space.choices).astype(float), 5e5, 1e6)

    budget = Budget("ms", 2.0, Clock())
    assert budget.left(budget.prices(space)) == (0.0, 1.5e6)


def test_below_the_smallest_file(space):
    smallest = size(space, 0)
    with pytest.raises(SearchError, match="raise it, or give the embeddings fewer bits") as error:
        Budget("MiB", 0.9 * smallest).prices(space)
    told = re.search(r"the smallest possible is ([\d.]+):", str(error.value)).group(1)
    assert float(told) == pytest.approx(smallest, rel=0.003)  # up to digits of the header, 50 bytes of a small file
    Budget("MiB", 1.01 * smallest).prices(space)


def test_above_the_largest_file(space):
    largest = size(space, 8)
    with pytest.raises(SearchError, match="needs no search: with every weight at 8 bits"):
        Budget("MiB", 1.02 * largest).prices(space)
    Budget("MiB", largest).prices(space)


def test_average_bits_that_no_choice_gives():
    space = Space.of(tiny_config(), QuantSpec.uniform(8, 8), (2, 4))
    with pytest.raises(SearchError, match=r"a budget of 1\.5 average bits cannot be met, the smallest possible is 2"):
        Budget("average bits", 1.5).prices(space)
