"""A trained fake-quantized model -> integers and scales, ready to be written.

Leftovers (biases, LayerNorm, head) are rounded in place to the precision of the file, so that what is evaluated
afterwards is what was frozen; quantizers round their scales in every forward pass already.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from bitbert.checkpoint.packed import PackedModel, PackedWeight, StaticScale
from bitbert.errors import SpecError
from bitbert.prepare import base_model, quantized_activations, quantized_weights
from bitbert.quantizers import ActivationQuantizer, WeightQuantizer
from bitbert.spec import QuantSpec


@torch.no_grad()
def freeze(model: PreTrainedModel, spec: QuantSpec) -> PackedModel:
    """Integers and scales of `model`, which `bitbert.prepare.prepare` made with `spec`; puts it into evaluation mode.

    Raises `SpecError`, naming the tensor, if the spec leaves something float that the engine needs as integers, or if a
    range is taken from data and none was seen yet.
    """
    encoder = base_model(model)
    spec.check_packable(model.config.num_hidden_layers, pooler=getattr(encoder, "pooler", None) is not None)
    model.eval()
    round_leftovers(model, getattr(torch, spec.leftovers))
    head_dim = model.config.hidden_size // model.config.num_attention_heads
    activations = quantized_activations(encoder).items()
    return PackedModel(
        config=model.config.to_dict() | {"architectures": [type(model).__name__]},
        spec=spec,
        weights={name: _pack(name, *pair, head_dim) for name, pair in quantized_weights(encoder).items()},
        activations={name: _static_scale(name, q) for name, q in activations if q.spec.scale == "static"},
        floats={name: p.float().cpu().numpy().copy() for name, p in _leftovers(model).items()},
    )


@torch.no_grad()
def round_leftovers(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Round every bias, LayerNorm and head parameter to `dtype`, in place."""
    for parameter in _leftovers(model).values():
        parameter.copy_(parameter.to(dtype))


def _leftovers(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Parameters that are neither a quantized weight nor a quantizer's, by name without the encoder's prefix."""
    encoder = base_model(model)
    quantized = {id(weight) for weight, _ in quantized_weights(encoder).values()}
    in_encoder = {id(p): name for name, p in encoder.named_parameters()}
    return {
        in_encoder.get(id(parameter), name): parameter
        for name, parameter in model.named_parameters()
        if id(parameter) not in quantized and "quantizer" not in name
    }


def _pack(name: str, weight: Tensor, quantizer: WeightQuantizer, head_dim: int) -> PackedWeight:
    codes, scale = quantizer.freeze(weight)
    in_heads = head_dim if ".attention.self." in name else None
    return PackedWeight.from_codes(name, quantizer.spec, codes.cpu().numpy(), scale.cpu().numpy(), in_heads)


def _static_scale(name: str, quantizer: ActivationQuantizer) -> StaticScale:
    """Scale and zero point as the quantizer uses them in evaluation."""
    scale = quantizer(torch.zeros(1, 1, device=quantizer.zero_point.device)).scale
    if not scale.isfinite():
        raise SpecError(f"{name} has no range yet: calibrate the model, or train it, before freezing")
    return StaticScale(float(np.float32(scale.item())), int(quantizer.zero_point))
