"""KDLSQ-BERT's learned range (Jin et al. 2021): a clipping threshold alpha > 0 per unit, for weights and activations.

With n = 2^(b-1) - 1 and u = x / alpha:

    Q(x) = alpha * round(n * clip(u, -1, 1)) / n

so the step size is s = alpha / n; at 2 bits n = 1, which is ternary. Rows of 1 bit, which the paper has not, are -alpha
or alpha, and alpha starts at their mean magnitude. Gradients, g that of Q(x):

    weights      dL/dw = g, not masked by the clip
    activations  dL/dx = g where |u| <= 1, else 0
    both         dL/dalpha = sum g * (sign(u) if |u| > 1 else round(n u)/n - u), no factor 1/sqrt(N Qp)

Two published initialisations of alpha: `percentile` drops 2.5 % of the sorted numbers at each end and takes the larger
of the two absolute values that remain outermost; `histogram` clips |x| where the cumulative distribution loses least,
below. Two more: `mse` takes the alpha with the smallest squared error, `minmax` the largest number, so that nothing is
clipped. With a zero point the range runs between the extremes (`minmax`) or between percentiles (the other rules).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bitbert.quantizers.base import MIN_SCALE, Units
from bitbert.quantizers.ranges import RangeActivation, RangeWeight
from bitbert.quantizers.ste import Grid, Rounding

DROPPED_AT_EACH_END = 0.025
CANDIDATES = 64  # a few percent apart, where the error is flat
MSE_PART = 2**12  # numbers for which all candidates are tried at once: what stays in a core's cache
MAX_BINS = 2048  # the published sqrt(N) bins make the search quadratic in N; beyond this alpha moves by less than 0.1 %


class LearnedRangeWeight(RangeWeight):
    """The clip does not mask the weight's gradient."""

    init = "percentile"

    def encode(self, weight: Tensor, grid: Grid, dtype: torch.dtype, *parameters: Tensor) -> Tensor:
        """Round to nearest."""
        return Rounding(parameters[0].clamp(min=MIN_SCALE), grid, False, True)(weight, dtype)

    @torch.no_grad()
    def initialize(self, weight: Tensor) -> None:
        """alpha of each unit from its weights; of 1 bit their mean magnitude, where its squared error is smallest."""
        parts = split_units(weight, self.units, self.num_units)
        rule = INITIALISATIONS[self.init]
        levels, binary = self.high_of_unit().clamp(min=1).int().tolist(), self.is_binary_unit().tolist()
        alphas = [part.abs().mean() if b else rule(part, n) for part, n, b in zip(parts, levels, binary, strict=True)]
        self.alpha.copy_(torch.stack(alphas))
        self.clamp_()


class LearnedRangeActivation(RangeActivation):
    """The gradient of x stops where it was clipped; calibration goes by the rule called `init`."""

    init = "histogram"

    def ends(self, sample: Tensor) -> tuple[Tensor, Tensor]:
        """Both ends of the sample by the rule."""
        return ENDS[self.init](sample, self.levels)

    def top(self, sample: Tensor) -> Tensor:
        """The range of |sample| by the rule."""
        return INITIALISATIONS[self.init](sample, self.levels)

    def rounding(self) -> Rounding | None:
        """To the step size alpha / n, unless alpha is being calibrated."""
        if self.calibrating:
            return None
        return Rounding(self.stored_scale(self.alpha / self.levels), self.grid(), clip_gradient=True, learned=True)


def percentile_ends(x: Tensor) -> tuple[Tensor, Tensor]:
    """The outermost values once `DROPPED_AT_EACH_END` of the sorted ones are dropped at either end."""
    flat = x.flatten().float()
    dropped = int(DROPPED_AT_EACH_END * len(flat))
    return flat.kthvalue(dropped + 1).values, flat.kthvalue(len(flat) - dropped).values


def minmax(x: Tensor, levels: int) -> Tensor:
    """max|x|; `levels` plays no part."""
    return x.float().abs().max()


def percentile(x: Tensor, levels: int) -> Tensor:
    """max(|low|, |high|) of `percentile_ends`; `levels` plays no part.

    >>> percentile(torch.arange(-50.0, 50.0), 7)
    tensor(48.)
    """
    low, high = percentile_ends(x)
    return torch.maximum(low.abs(), high.abs())


def histogram(x: Tensor, levels: int) -> Tensor:
    """The clip of |x| whose quantized cumulative distribution Q is nearest to the true one C.

    |x| falls into about sqrt(N) bins of width w. For every i > m = levels + 1: P = C with all entries from i-1 on set
    to 1; Q = P[:i] resampled linearly to m points and back; distance sum (C - Q) log2(C / Q). The result is (i + 1/2) w
    at the smallest one. With fewer than m + 1 bins there is nothing to search, and it is max|x|.
    """
    magnitude = x.flatten().float().abs()
    top, m = magnitude.max(), levels + 1
    bins = min(int(len(magnitude) ** 0.5), MAX_BINS)
    if bins <= m or top == 0:
        return top
    cumulative = torch.histc(magnitude, bins, 0, float(top)).cumsum(0) / len(magnitude)
    distances = [_clip_distance(cumulative, i, m) for i in range(m + 1, bins + 1)]
    best = m + 1 + int(torch.stack(distances).argmin())
    return torch.minimum((best + 0.5) * top / bins, top)


def mse(x: Tensor, levels: int) -> Tensor:
    """alpha with the smallest squared error |x - Q(x)|^2 of `CANDIDATES` from half the root mean square to max|x|."""
    flat = x.flatten().float()
    low, high = flat.square().mean().sqrt() / 2, flat.abs().max()
    if high == 0:
        return high
    alphas = low * (high / low) ** torch.linspace(0, 1, CANDIDATES, device=x.device)
    steps = (alphas / levels)[:, None]
    errors = torch.stack([_rounding_errors(part, steps, levels) for part in flat.split(MSE_PART)]).sum(dim=0)
    return alphas[errors.argmin()]


def mse_ends(x: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """(low, high) of a grid with a zero point, with the smallest squared error of `CANDIDATES` for each end.

    Each candidate is a part of the extreme, from 1/`CANDIDATES` of it on. Of two ends the one farther from 0 is fitted
    first: there stand the outliers, if any.
    """
    flat = x.flatten().float()
    extremes = torch.stack([flat.min().clamp(max=0), flat.max().clamp(min=0)])
    shares = torch.arange(1, CANDIDATES + 1, device=x.device) / CANDIDATES
    for end in extremes.abs().argsort(descending=True):
        candidates = extremes.repeat(CANDIDATES, 1)
        candidates[:, end] *= shares
        errors = torch.stack([_errors_between(part, candidates, levels) for part in flat.split(MSE_PART)]).sum(dim=0)
        extremes = candidates[errors.argmin()]
    return extremes[0], extremes[1]


def _errors_between(x: Tensor, ends: Tensor, levels: int) -> Tensor:
    """(candidates): squared error of grids from `ends` (candidates, 2)."""
    low, high = ends[:, :1], ends[:, 1:]
    steps = ((high - low) / levels).clamp(min=MIN_SCALE)
    zero_points = (-low / steps).round()
    codes = (x / steps).round_().clamp_(-zero_points, levels - zero_points)
    return codes.mul_(steps).sub_(x).square_().sum(dim=1)


def _rounding_errors(x: Tensor, steps: Tensor, levels: int) -> Tensor:
    return (x / steps).round_().clamp_(-levels, levels).mul_(steps).sub_(x).square_().sum(dim=1)


def _clip_distance(cumulative: Tensor, clip: int, points: int) -> Tensor:
    clipped = cumulative[:clip].clone()
    clipped[-1] = 1.0
    coarse = _resample(_resample(clipped, points), clip).clamp(min=1e-12)
    true = cumulative[:clip].clamp(min=1e-12)
    return ((true - coarse) * torch.log2(true / coarse)).sum()


def _resample(x: Tensor, points: int) -> Tensor:
    return nn.functional.interpolate(x[None, None], size=points, mode="linear", align_corners=True)[0, 0]


def split_units(weight: Tensor, units: Units, count: int) -> list[Tensor]:
    """The elements of each unit of a weight matrix."""
    if units.granularity == "tensor":
        return [weight]
    if units.group_of_row is None:
        return list(weight)
    return [weight[units.group_of_row == group] for group in range(count)]


INITIALISATIONS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "minmax": minmax,
    "percentile": percentile,
    "histogram": histogram,
    "mse": mse,
}
ENDS: dict[str, Callable[[Tensor, int], tuple[Tensor, Tensor]]] = {
    "minmax": lambda x, levels: torch.aminmax(x),
    "percentile": lambda x, levels: percentile_ends(x),
    "histogram": lambda x, levels: percentile_ends(x),  # the published search knows one end only
    "mse": mse_ends,
}
