"""Watching a prepared model run: what every quantizer got and gave, and, where that is wanted, what it must give.

The hooks live here and not in the package; a model is left as it was found.
"""

from contextlib import ExitStack
from dataclasses import dataclass, field
from unittest import mock

import numpy as np
import torch
from torch import nn

from bitbert.layers import product
from bitbert.prepare import base_model, quantized_activations
from bitbert.quantizers import Quantized


@dataclass
class Seen:
    """Of one sequence, as numpy arrays without the batch dimension (what has one row only keeps that).

    By activation: `codes`, zero point subtracted, and `steps`, the floats they came from over the scale. `floats` by
    LayerNorm, and "pooler" and "head". In the order of computation: `products`, every sum of codes, and the attention
    `scores`.
    """

    length: int
    codes: dict = field(default_factory=dict)
    steps: dict = field(default_factory=dict)
    floats: dict = field(default_factory=dict)
    products: list = field(default_factory=list)
    scores: list = field(default_factory=list)

    def cut(self, x):
        """The first sequence of a batch of features (B, T, n), scores (B, h, T, T) or single rows (B, n)."""
        first = np.atleast_2d(x[0].numpy())
        return first[: self.length] if first.ndim == 2 else first[:, : self.length, : self.length]


def alone(ids, types):
    """A batch of one sequence."""
    inputs = {"input_ids": ids, "token_type_ids": types, "attention_mask": np.ones_like(ids)}
    return {name: torch.from_numpy(x).long()[None] for name, x in inputs.items()}


@torch.no_grad()
def watch(model, inputs, forced=None):
    """Run a batch in evaluation mode and look at its first sequence, without its padding.

    `forced` maps activations to the `Quantized` and LayerNorms to the tensor that they hand on instead of their own
    result.
    """
    seen, encoder, forced = Seen(int(inputs["attention_mask"][0].sum())), base_model(model), forced or {}
    with ExitStack() as stack:
        for name, quantizer in quantized_activations(encoder).items():
            stack.callback(quantizer.register_forward_hook(_on_codes(seen, name, forced.get(name))).remove)
        for name, module in encoder.named_modules():
            if isinstance(module, nn.LayerNorm) or name == "pooler":
                stack.callback(module.register_forward_hook(_on_floats(seen, name, forced.get(name))).remove)
        for module in (m for m in model.children() if isinstance(m, nn.Linear)):
            stack.callback(module.register_forward_hook(_on_floats(seen, "head", None)).remove)
        stack.enter_context(mock.patch.object(product, "integer_matmul", _keeping(seen, product.integer_matmul)))
        out = model(**inputs, output_attentions=True)
    seen.scores = [seen.cut(scores) for scores in out.attentions]
    return seen


def _on_codes(seen, name, forced):
    def hook(module, args, result):
        seen.codes[name] = seen.cut(result.codes)
        seen.steps[name] = seen.cut(args[0]) * (np.float32(1) / seen.cut(result.scale))
        return None if forced is None else Quantized(forced.codes.view_as(result.codes), forced.scale, result.bound)

    return hook


def _on_floats(seen, name, forced):
    def hook(module, args, result):
        seen.floats[name] = seen.cut(result)
        return forced

    return hook


def _keeping(seen, multiply):
    def wrapped(*args):
        result = multiply(*args)
        seen.products.append(result[0].numpy())
        return result

    return wrapped
