"""Min-max scales: the grid reaches exactly as far as the numbers do.

Q8BERT (Zafrir et al. 2019): symmetric, scale = T / (2^(b-1) - 1). For weights T = max|w|, anew at every step. For
activations T follows max|x| of the batches as an exponential moving average, T <- T - (1 - 0.9999) (T - max|x|),
starting at the first batch's maximum, updated before it is used and frozen in evaluation. The gradient passes straight
through every element and none reaches the scale.

Also here: the same with a zero point (moving averages of minimum and maximum), and per token (ZeroQuant, Yao et al.
2022), where the range is that of each row at run time.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bitbert.quantizers.base import MIN_SCALE, ActivationQuantizer, Units, WeightQuantizer
from bitbert.quantizers.ste import Grid, Quantized, Rounding, RoundToGrid
from bitbert.spec import ActivationSpec

EMA_DECAY = 0.9999
# The smallest range of a token; docs/numerics.md, "Quantize".
MIN_TOKEN_RANGE = 2.0**-60


class MinMaxWeight(WeightQuantizer):
    """scale = max|w| / n over each unit, recomputed in every forward pass."""

    def parameters_of(self, weight: Tensor, units: Units, high: Tensor) -> tuple[Tensor, ...]:
        """(scale,) per unit."""
        return (self.stored_scale(units.amax(weight.detach().abs()) / high.clamp(min=1), high),)

    def encode(self, weight: Tensor, grid: Grid, dtype: torch.dtype, *parameters: Tensor) -> Tensor:
        """Round to nearest; straight-through."""
        return Rounding(parameters[0].clamp(min=MIN_SCALE), grid, False, False)(weight, dtype)


class MinMaxActivation(ActivationQuantizer):
    """Static range, a moving average of the batches' minimum and maximum."""

    minimum: Tensor
    maximum: Tensor

    def __init__(self, spec: ActivationSpec, kind: str, leftovers: torch.dtype) -> None:
        """Start without a range; the first batch sets it."""
        super().__init__(spec, kind, leftovers)
        self.register_buffer("minimum", torch.tensor(torch.nan))
        self.register_buffer("maximum", torch.tensor(torch.nan))

    @torch.no_grad()
    def observe(self, x: Tensor) -> None:
        """One step of the moving averages."""
        low, high = torch.aminmax(x.float())
        if not self.fits_zero_point:
            high = torch.maximum(high, -low)
        for average, value in ((self.minimum, low), (self.maximum, high)):
            average.copy_(torch.where(average.isnan(), value, average + (1 - EMA_DECAY) * (value - average)))

    def _scale(self) -> Tensor:
        if not self.fits_zero_point:
            return self.stored_scale(self.maximum / self.levels).reshape(1)
        low, high = self.minimum.clamp(max=0), self.maximum.clamp(min=0)
        scale = self.stored_scale((high - low) / self.levels).reshape(1)
        self.zero_point.copy_((-low * scale.reciprocal()).round().clamp(0, self.levels).squeeze())
        return scale

    def rounding(self) -> Rounding | None:
        """To the frozen range; in training it depends on the batch."""
        return None if self.training or self.calibrating else self._rounding()

    def quantize(self, x: Tensor, dtype: torch.dtype) -> Quantized:
        """Codes with the range after this batch (training) or the frozen one (evaluation)."""
        if self.training:
            self.observe(x.detach())
        rounding = self._rounding()
        return Quantized(rounding(x, dtype), rounding.scale, self.bound)

    def _rounding(self) -> Rounding:
        scale = self._scale()  # fits the zero point, on which the grid depends
        return Rounding(scale, self.grid(), clip_gradient=False, learned=False)


class TokenMinMaxActivation(ActivationQuantizer):
    """The range of every token (last dimension) by itself; nothing is stored."""

    def quantize(self, x: Tensor, dtype: torch.dtype) -> Quantized:
        """Codes, and a scale of shape (..., 1)."""
        scale, grid = self._symmetric(x.detach()) if not self.fits_zero_point else self._with_zero_point(x.detach())
        return Quantized(RoundToGrid.run(x, scale, grid, False, False, dtype), scale, self.bound)

    def _symmetric(self, x: Tensor) -> tuple[Tensor, Grid]:
        top = x.float().abs().amax(dim=-1, keepdim=True)
        return top.clamp(min=MIN_TOKEN_RANGE) / self.levels, self.grid()

    def _with_zero_point(self, x: Tensor) -> tuple[Tensor, Grid]:
        low = x.float().amin(dim=-1, keepdim=True).clamp(max=0)
        high = x.float().amax(dim=-1, keepdim=True).clamp(min=0)
        scale = (high - low).clamp(min=MIN_TOKEN_RANGE) / self.levels
        zero_point = (-low * scale.reciprocal()).round().clamp(0, self.levels)
        return scale, Grid(self.code_grid.low - zero_point, self.code_grid.high - zero_point)
