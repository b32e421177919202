"""Ranges of activations before training: show the prepared model some training batches."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bitbert.prepare import base_model, quantized_activations, quantized_weights
from bitbert.quantizers.learned_range import LearnedRangeActivation, LearnedRangeWeight
from bitbert.recipes.schema import Calibration


@torch.no_grad()
def calibrate(model: PreTrainedModel, batches: Iterable[dict[str, Tensor]], settings: Calibration) -> None:
    """Run `batches` through `model` with its activations in float, then set every static range from what passed.

    `batches` should hold little padding, as padding is observed too. Learned weight ranges are set by the rule in
    `settings`.
    """
    encoder = base_model(model)
    quantizers = list(quantized_activations(encoder).values())
    for weight, weight_quantizer in quantized_weights(encoder).values():
        if isinstance(weight_quantizer, LearnedRangeWeight) and weight_quantizer.init != settings.weights:
            weight_quantizer.init = settings.weights
            weight_quantizer.initialize(weight)
    for quantizer in quantizers:
        if isinstance(quantizer, LearnedRangeActivation):
            quantizer.init = settings.activations
        quantizer.calibrating = True
    model.eval()
    for batch in batches:
        encoder(**{name: x.to(model.device) for name, x in batch.items() if name != "labels"})
    for quantizer in quantizers:
        quantizer.calibrating = False
        quantizer.finish_calibration()
