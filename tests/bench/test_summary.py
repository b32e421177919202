"""Medians, quartiles, ratios by round, and how figures are written."""

import pytest

from bitbert.bench.summary import Spread, figure, ratio, ratios, spread


def test_median_and_quartiles():
    assert spread([5.0, 1.0, 4.0, 2.0, 3.0]) == Spread(3.0, 2.0, 4.0)
    assert spread([7.0]) == Spread(7.0, 7.0, 7.0)


def test_one_slow_round_does_not_move_a_ratio_by_rounds():
    ours, theirs = [1.0, 1.0, 10.0, 1.0], [2.0, 2.0, 20.0, 2.0]
    assert ratio(theirs, ours) == Spread(2.0, 2.0, 2.0)


def test_rounds_must_be_the_same():
    with pytest.raises(ValueError, match="zip"):
        ratio([1.0], [1.0, 2.0])


def test_the_reference_is_compared_with_itself():
    assert {name: found.median for name, found in ratios({"a": [2.0], "b": [3.0]}, "a").items()} == {"a": 1, "b": 1.5}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.000"), (0.0123, "0.012"), (0.999, "0.999"), (1, "1.00"), (99.96, "100.0"), (1234.5, "1234"), (-2, "-2.00")],
)
def test_figures(value, text):
    assert figure(value) == text
