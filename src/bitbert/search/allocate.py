"""One width for every item, at the lowest total cost within a budget: a multiple-choice knapsack, solved exactly.

    minimise sum_ij cost_ij x_ij    with  sum_j x_ij = 1 for every item i,  floor <= sum_ij price_ij x_ij <= budget

with x_ij 0 or 1. Costs may be an estimate of the loss or the negative logarithm of a learned probability; prices are
whole numbers of bytes, bits or nanoseconds. Two steps. A Lagrange multiplier, one rate of exchange of price to cost for
all items, gives a good assignment and a lower bound on every other, and the two together prove that nearly all x_ij are
0 in the best one. What is left goes to branch and bound (HiGHS, Huangfu and Hall 2018), to a relative gap of 1e-4 or
for a minute.

>>> allocate(np.array([[9.0, 1.0], [4.0, 1.0]]), np.array([[1.0, 2.0], [1.0, 2.0]]), budget=3.0)
array([1, 0])
"""

from __future__ import annotations

from collections.abc import Callable

import highspy
import numpy as np
from numpy.typing import NDArray

from bitbert.errors import SearchError

GAP = 1e-4
SECONDS = 60.0  # for branch and bound, several times what 5,000 row groups take
BISECTIONS = 120  # rates begin at 1, and those of interest may be as small as 1e-20

Values = NDArray[np.float64]
Choice = NDArray[np.int64]


def allocate(costs: Values, prices: Values, budget: float, floor: float = 0.0) -> Choice:
    """(items): the index of the choice of each item; `costs` and `prices` (items, choices), cost inf where forbidden.

    Costs are finite elsewhere and not negative. A `floor` that cannot be had together with the budget, as may be with a
    handful of large items, is lowered until it can: twice as far below the budget, and so on. Raises `SearchError` if
    the cheapest assignment is over the budget already.
    """
    allowed = np.isfinite(costs)
    cheapest = np.where(allowed, prices, np.inf).min(axis=1).sum()
    if cheapest > budget:
        raise SearchError(f"no assignment is within {budget:g}: the cheapest takes {cheapest:g}")
    floor = min(max(floor, 0.0), np.where(allowed, prices, -np.inf).max(axis=1).sum())
    best: Choice = costs.argmin(axis=1)
    if floor <= total(prices, best) <= budget:
        return best
    target = budget if total(prices, best) > budget else floor
    start, rate = _at_one_rate(costs, prices, target, up_to=target == budget)
    if floor <= total(prices, start) <= budget:
        allowed &= _may_gain(costs, prices, start, rate, target)
    chosen = _branch_and_bound(costs, prices, floor, budget, allowed)
    return allocate(costs, prices, budget, 2 * floor - budget) if chosen is None else chosen


def total(values: Values, chosen: Choice) -> float:
    """Sum over items of what was chosen."""
    return float(values[np.arange(len(values)), chosen].sum())


def rates(price: Callable[[float], float], target: float) -> tuple[float, float]:
    """Two neighbouring rates of exchange: at the first `price` is the target or over it, at the second it or under it.

    `price` falls as the rate rises. A rate below 0 makes what is dear wanted.
    """
    low, high = 0.0, 0.0
    if price(0.0) > target:
        high = 1.0
        while price(high) > target:
            high *= 2
    else:
        low = -1.0
        while price(low) < target:
            low *= 2
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if price(middle) <= target else (middle, high)
    return low, high


def _at_one_rate(costs: Values, prices: Values, target: float, *, up_to: bool) -> tuple[Choice, float]:
    """An assignment that minimises cost + rate * price, item by item, and the rate at which its price meets `target`.

    Its price is the last one up to the target, or the first one from there on. Items that are undecided at that rate
    are changed one by one.
    """
    low, high = rates(lambda rate: total(prices, _cheapest(costs, prices, rate)), target)
    below, above = _cheapest(costs, prices, high), _cheapest(costs, prices, low)
    undecided = np.flatnonzero(below != above)
    steps = np.cumsum(prices[undecided, above[undecided]] - prices[undecided, below[undecided]])
    room = target - total(prices, below)
    count = np.searchsorted(steps, room, side="right") if up_to else np.searchsorted(steps, room) + 1
    chosen = below.copy()
    chosen[undecided[:count]] = above[undecided[:count]]
    return chosen, high


def _cheapest(costs: Values, prices: Values, rate: float) -> Choice:
    chosen: Choice = (costs + rate * prices).argmin(axis=1)
    return chosen


def _may_gain(costs: Values, prices: Values, start: Choice, rate: float, target: float) -> NDArray[np.bool_]:
    """(items, choices): what an assignment better than `start`, or `start`, may contain.

    sum_i min_j (cost + rate price) - rate target bounds every total cost from below (Lagrangian relaxation), and what
    a choice adds to its term is added to the bound.
    """
    reduced = costs + rate * prices
    least = reduced.min(axis=1)
    to_gain = total(costs, start) - (least.sum() - rate * target)
    possible: NDArray[np.bool_] = reduced - least[:, None] <= to_gain
    possible[np.arange(len(start)), start] = True  # whatever float64 rounds
    return possible


def _branch_and_bound(
    costs: Values, prices: Values, floor: float, budget: float, allowed: NDArray[np.bool_]
) -> Choice | None:
    """The best assignment of `allowed` choices with a price from `floor` to `budget`; None if there is none."""
    item, choice = np.nonzero(allowed)
    taken = costs[item, choice]
    unit = _unit(prices)
    # Costs are brought to the order of 1, in which the solver's tolerances are meant.
    program = _program(taken / max(taken.mean(), np.finfo(float).tiny), prices[item, choice] / unit, item)
    program.row_lower_ = np.append(np.ones(len(costs)), np.ceil(floor / unit))
    program.row_upper_ = np.append(np.ones(len(costs)), np.floor(budget / unit))
    highs = highspy.Highs()  # type: ignore[no-untyped-call]
    for option, value in {"output_flag": False, "threads": 1, "mip_rel_gap": GAP, "time_limit": SECONDS}.items():
        highs.setOptionValue(option, value)
    highs.passModel(program)
    highs.run()
    status = highs.getModelStatus()
    if status == highspy.HighsModelStatus.kInfeasible:
        return None
    if highs.getInfo().primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        raise SearchError(f"the solver found no assignment in {SECONDS:g} s: {highs.modelStatusToString(status)}")
    chosen = np.zeros(len(costs), np.int64)
    picked = np.array(highs.getSolution().col_value) > 0.5
    chosen[item[picked]] = choice[picked]
    return chosen


def _unit(prices: Values) -> float:
    """What all prices are multiples of; a budget between two multiples leaves the solver a gap that nothing closes."""
    return float(max(1, np.gcd.reduce(prices.astype(np.int64), axis=None)))


def _program(costs: Values, prices: Values, item: Choice) -> highspy.HighsLp:
    """Binary columns; a row for each item, whose columns add up to 1, and last the one of the price."""
    columns, items = len(item), int(item[-1]) + 1
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = columns, items + 1
    program.col_cost_, program.col_lower_, program.col_upper_ = costs, np.zeros(columns), np.ones(columns)
    matrix = program.a_matrix_
    matrix.format_ = highspy.MatrixFormat.kRowwise
    matrix.start_ = np.append(np.searchsorted(item, np.arange(items + 1)), 2 * columns)
    matrix.index_ = np.tile(np.arange(columns), 2)
    matrix.value_ = np.append(np.ones(columns), prices)
    program.integrality_ = [highspy.HighsVarType.kInteger] * columns
    return program
