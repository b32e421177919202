"""AQ-BERT's relaxed choice of widths (Zhao et al. 2021): a matrix as the weighted sum of itself at every width.

Row group g has logits b over the choices. With Gumbel noise n = -log(-log u), u uniform on (0, 1), and temperature t

    share_k = softmax_k((b_k + n_k) / t)        mixture = sum_k share_k Q_k(w)        Q_0 = 0

and the bias of a group keeps 1 - share_0 of itself, since pruning takes it away. The gradient of w passes straight
through every Q_k but Q_0; that of share_k is the sum of g * Q_k(w) over the group. Steps follow the weights: each is
the group's root mean square times the ratio that fits best when the search begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bitbert.quantizers.base import MIN_SCALE, Units, as_codes
from bitbert.quantizers.ste import Grid, Quantized, TensorFunction
from bitbert.spec import code_range


class MixtureWeight(nn.Module):
    """Takes the place of a weight quantizer while widths are searched; what it gives are values, not codes."""

    group_of_row: Tensor
    ratio: Tensor

    def __init__(
        self,
        weight: Tensor,
        steps: Tensor,
        choices: Sequence[int],
        group_of_row: Tensor,
        grid: str,
        noise: torch.Generator,
    ) -> None:
        """`steps` (groups, choices) fit `weight` (rows, columns); those of 0 bits are not used."""
        super().__init__()
        self.choices, self.noise, self.temperature = tuple(choices), noise, 1.0
        self._grids = [_grid(bits, grid) for bits in choices]
        self.register_buffer("group_of_row", group_of_row, persistent=False)
        self.register_buffer("ratio", steps / self._size(weight)[:, None], persistent=False)
        self.logits = nn.Parameter(torch.zeros_like(steps))

    def forward(self, weight: Tensor, dtype: torch.dtype = torch.float32) -> Quantized:
        """The mixture for one draw of the noise."""
        self._shares = self._draw()
        return as_codes(_Mixture.run(weight, self._shares, self), dtype)

    def kept(self, bias: Tensor) -> Tensor:
        """What the draw of the last `forward` leaves of the bias (rows)."""
        if self.choices[0] != 0:
            return bias
        return bias * (1 - self._shares[:, 0])[self.group_of_row]

    def values(self, weight: Tensor) -> Iterator[tuple[int, Tensor]]:
        """(index of the choice, matrix at that width), 0 bits left out."""
        steps = (self.ratio * self._size(weight)[:, None]).clamp(min=MIN_SCALE)[self.group_of_row]
        for k, grid in enumerate(self._grids):
            if grid is not None:
                yield k, grid.nearest(weight / steps[:, k : k + 1]).mul_(steps[:, k : k + 1])

    def _size(self, weight: Tensor) -> Tensor:
        """(groups): root mean square of the weights."""
        units = Units("row_group", self.group_of_row, int(self.group_of_row[-1]) + 1)
        return units.mean(weight.detach().square()).sqrt().clamp(min=MIN_SCALE)

    def _draw(self) -> Tensor:
        noise = -torch.empty(self.logits.shape).exponential_(generator=self.noise).clamp(min=1e-30).log()
        return ((self.logits + noise.to(self.logits)) / self.temperature).softmax(dim=-1)


def _grid(bits: int, grid: str) -> Grid | None:
    low, high, step = code_range(bits, grid)
    return Grid(low, high, step == 2) if bits else None


class _Mixture(TensorFunction):
    """sum_k share_k Q_k(w); the matrices at each width are computed again rather than kept."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, shares: Tensor, mixture: MixtureWeight) -> Tensor:
        ctx.save_for_backward(weight, shares)
        ctx.mixture = mixture
        by_row, out = shares[mixture.group_of_row], torch.zeros_like(weight)
        for k, value in mixture.values(weight):
            out.addcmul_(by_row[:, k : k + 1], value)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        weight, shares = ctx.saved_tensors
        mixture, (grad,) = ctx.mixture, grads
        grad_weight = grad_shares = None
        if ctx.needs_input_grad[0]:
            through = shares[:, [bits > 0 for bits in mixture.choices]].sum(dim=1)
            grad_weight = grad * through[mixture.group_of_row][:, None]
        if ctx.needs_input_grad[1]:
            grad_shares = torch.zeros_like(shares)
            for k, value in mixture.values(weight):
                grad_shares[:, k].index_add_(0, mixture.group_of_row, (grad * value).sum(dim=1))
        return grad_weight, grad_shares, None
