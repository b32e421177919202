"""What a training loop must know of a prepared model's parameters: which are scales, and that these stay positive."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

ParameterKind = Literal["weights", "weight_scales", "activation_scales"]


def parameter_kind(name: str) -> ParameterKind:
    """What the parameter called `name` is; each kind has a learning rate of its own.

    >>> parameter_kind("encoder.layer.0.output.dense.weight_quantizer.alpha")
    'weight_scales'
    """
    if "weight_quantizer" in name:
        return "weight_scales"
    return "activation_scales" if "quantizer" in name else "weights"


class PositiveScales:
    """All learned scales of a model."""

    def __init__(self, model: nn.Module) -> None:
        """Find them."""
        self._quantizers: list[Any] = [m for m in model.modules() if hasattr(m, "clamp_")]

    def clamp_(self) -> None:
        """Keep them positive; to be called after each optimizer step."""
        for quantizer in self._quantizers:
            quantizer.clamp_()
