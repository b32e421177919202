"""Quantizers: float tensor -> codes x scale, and its gradient. One method a file; `make_*` choose by the spec."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from bitbert.quantizers.asymmetric import AsymmetricWeight
from bitbert.quantizers.base import ActivationQuantizer, FloatActivation, FloatWeight, WeightQuantizer
from bitbert.quantizers.binary import BinaryWeight
from bitbert.quantizers.learned_range import LearnedRangeActivation, LearnedRangeWeight
from bitbert.quantizers.lsq import LSQActivation, LSQWeight
from bitbert.quantizers.minmax import MinMaxActivation, MinMaxWeight, TokenMinMaxActivation
from bitbert.quantizers.mse_gradient import MSEGradientActivation, MSEGradientWeight
from bitbert.quantizers.ste import Quantized
from bitbert.quantizers.ternary import TernaryWeight
from bitbert.spec import ActivationSpec, WeightSpec

__all__ = [
    "ActivationQuantizer",
    "FloatActivation",
    "FloatWeight",
    "Quantized",
    "WeightQuantizer",
    "make_activation",
    "make_weight",
]

_WEIGHTS: dict[str, type[WeightQuantizer]] = {
    "minmax": MinMaxWeight,
    "learned_range": LearnedRangeWeight,
    "lsq": LSQWeight,
    "mse_gradient": MSEGradientWeight,
    "ternary": TernaryWeight,
    "binary": BinaryWeight,
    "asymmetric": AsymmetricWeight,
}
_STATIC_ACTIVATIONS: dict[str, type[ActivationQuantizer]] = {
    "minmax": MinMaxActivation,
    "learned_range": LearnedRangeActivation,
    "lsq": LSQActivation,
    "mse_gradient": MSEGradientActivation,
}


def make_weight(spec: WeightSpec, groups: Sequence[tuple[int, int]], leftovers: str) -> WeightQuantizer | FloatWeight:
    """The quantizer of a matrix whose row groups are `groups`; one that passes it through where there are no bits."""
    if not spec.all_bits:
        return FloatWeight()
    return _WEIGHTS[spec.method](spec, groups, getattr(torch, leftovers))


def make_activation(spec: ActivationSpec, kind: str, leftovers: str) -> ActivationQuantizer | FloatActivation:
    """The quantizer of an activation of this kind; one that passes it through where the spec gives no bits."""
    if spec.bits is None:
        return FloatActivation()
    if spec.scale == "per_token":
        return TokenMinMaxActivation(spec, kind, getattr(torch, leftovers))
    return _STATIC_ACTIVATIONS[spec.method](spec, kind, getattr(torch, leftovers))
