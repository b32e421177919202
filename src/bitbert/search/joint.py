"""Widths for all items together: what their errors have in common counts, and so does what the model misses by now.

`sensitivity.effects` says how far each answer moves, text by text, if an item changes. Moves u add up, so that with m
(texts) what the answers miss already, an assignment x is expected to cost

    1/2 E[(m + sum_i u_i(x_i))^2]  +  caution * sum_i 1/2 E[u_i(x_i)^2]

with the mean over texts. The first term is the divergence to second order, with all that the errors of different items
have in common: many small ones that push the same way are a large one. The second is what they would cost if they had
nothing in common. It keeps the fit to a few hundred texts from being one to these alone, and holds back changes that
reach beyond where the first order is true. Coordinate descent minimises the sum plus a rate times the price, and the
rate is the one that meets the budget.

What is true at the float model is not at 2 bits, so `refined` asks again where it stands, and takes a step only if the
measured divergence falls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitbert.search.allocate import Choice, Values, allocate, rates, total
from bitbert.search.divergence import Batch
from bitbert.search.mixed import MixedModel
from bitbert.search.sensitivity import Effects, costs, effects
from bitbert.watch import Watch, watched

ROUNDS = 4
CAUTIONS = (1.0, 3.0, 10.0)  # all are tried in every round; 0.3 already reaches too far on MiniLM
SWEEPS, BISECTIONS = 8, 20
NEAR = 0.99  # a price within 1 % of the budget is near enough for the rate; single changes do the rest

Range = tuple[float, float]


@dataclass(frozen=True)
class Found:
    """What `refined` found.

    `chosen` (items) diverges by `divergence` per text on what it was fitted to. (items, choices): `alone` costs of each
    item as if all others were float, `beside` what the whole costs with one item changed.
    """

    chosen: Choice
    divergence: float
    alone: Values
    beside: Values


def refined(
    mixed: MixedModel,
    batches: Sequence[Batch],
    prices: Values,
    budget: Range,
    *,
    seed: int,
    watch: Watch = lambda *_: None,
) -> Found:
    """An assignment whose price is from budget[0] to budget[1]; `mixed` holds floats before and after.

    It starts from the exact one for costs that add up, and is that one where the budget allows every item its best.
    """
    reference, allowed = mixed.answers(batches), mixed.space.allowed
    seen = effects(mixed, batches, reference, seed=seed, watch=watch)
    alone = costs(seen, mixed.space)
    chosen = allocate(alone, prices, budget[1], budget[0])
    nearest = mixed.divergence_at(chosen, batches, reference)
    for _ in range(0 if total(prices, alone.argmin(axis=1)) <= budget[1] else ROUNDS):
        tried = [joint(seen, allowed, prices, budget, caution) for caution in watched(CAUTIONS, "assigning", watch)]
        found = [mixed.divergence_at(other, batches, reference) for other in watched(tried, "measuring", watch)]
        if min(found) >= nearest:
            break
        nearest, chosen = min(found), tried[int(np.argmin(found))]
        mixed.put(chosen)
        seen = effects(mixed, batches, reference, seed=seed, watch=watch)
    mixed.put_floats()
    beside = np.square(seen.missed[:, None, None] + seen.moves).mean(axis=0, dtype=np.float64) / 2
    return Found(chosen, nearest, alone, np.where(allowed, beside, np.inf))


def joint(seen: Effects, allowed: NDArray[np.bool_], prices: Values, budget: Range, caution: float) -> Choice:
    """(items): the best that coordinate descent finds within the budget."""
    least, most = budget
    problem = _Problem(seen, allowed, prices, caution)
    unpriced = problem.descend(0.0)
    if total(prices, unpriced) <= most:
        return problem.filled(unpriced, least, most)
    high, chosen = problem.first_rate(most), None
    while total(prices, problem.descend(high)) > most:
        high *= 4
    low = 0.0
    for _ in range(BISECTIONS):
        rate = (low + high) / 2 if low else high / 4
        tried = problem.descend(rate)
        if total(prices, tried) > most:
            low = rate
            continue
        high, chosen = rate, tried
        if total(prices, chosen) >= max(least, NEAR * most):
            break
    return problem.filled(problem.descend(high) if chosen is None else chosen, least, most)


class _Problem:
    """The sum that `joint` minimises; the term of an item alone is `own` (items, choices)."""

    def __init__(self, seen: Effects, allowed: NDArray[np.bool_], prices: Values, caution: float) -> None:
        self.missed, self.prices = seen.missed, prices
        self.moves = np.ascontiguousarray(seen.moves.transpose(1, 0, 2))
        mean_square = np.square(self.moves).mean(axis=1, dtype=np.float64)
        self.own = np.where(allowed, (1 + caution) / 2 * mean_square, np.inf)
        self._items, self._texts = np.arange(len(prices)), len(seen.missed)
        self._order = np.random.default_rng(0).permutation(len(prices))

    def first_rate(self, budget: float) -> float:
        """The rate at which the terms of items alone would meet the budget; where any would do, a small one."""
        small = 1e-3 * float(self.own[np.isfinite(self.own)].mean() / self.prices.mean())
        return max(small, rates(lambda rate: total(self.prices, self._alone(rate)), budget)[1])

    def descend(self, rate: float) -> Choice:
        """Change one item at a time to its best choice, until none changes."""
        chosen, own = self._alone(rate), self.own + rate * self.prices
        for _ in range(SWEEPS):
            before, answers = chosen.copy(), self._answers(chosen)
            for i in self._order:
                others = answers - self.moves[i, :, chosen[i]]
                chosen[i] = (others @ self.moves[i] / self._texts + own[i]).argmin()
                answers = others + self.moves[i, :, chosen[i]]
            if (chosen == before).all():
                break
        return chosen

    def filled(self, chosen: Choice, least: float, most: float) -> Choice:
        """Spend what is left on single changes: those that help, and below `least` any."""
        chosen = chosen.copy()
        while True:
            price = total(self.prices, chosen)
            extra = self.prices - self.prices[self._items, chosen][:, None]
            gain = np.where((extra > 0) & (extra <= most - price), self._change(chosen), np.inf)
            item, choice = np.unravel_index(gain.argmin(), gain.shape)
            if not np.isfinite(gain[item, choice]) or (gain[item, choice] >= 0 and price >= least):
                return chosen
            chosen[item] = choice

    def _alone(self, rate: float) -> Choice:
        chosen: Choice = (self.own + rate * self.prices).argmin(axis=1)
        return chosen

    def _answers(self, chosen: Choice) -> NDArray[np.float32]:
        """(texts): what they miss with these choices."""
        answers: NDArray[np.float32] = self.missed + self.moves[self._items, :, chosen].sum(axis=0)
        return answers

    def _change(self, chosen: Choice) -> Values:
        """(items, choices): what the sum changes by if one item does."""
        others = self._answers(chosen) - self.moves[self._items, :, chosen]
        term = np.einsum("it,itk->ik", others, self.moves) / self._texts + self.own
        change: Values = term - term[self._items, chosen][:, None]
        return change
