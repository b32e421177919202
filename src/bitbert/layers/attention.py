"""Attention over integer codes, as a function in transformers' registry: `attn_implementation="bitbert"`.

In a prepared model Q, K and V arrive as codes and the module has a quantizer for the probabilities; in a stock one (a
teacher) all is computed in float. The second result, which stock models hand out as `attentions`, is the *scores*
before mask and softmax, because distillation compares those.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from bitbert.layers.product import gemm_dtype, matmul
from bitbert.quantizers import Quantized
from bitbert.quantizers.base import as_codes

NAME = "bitbert"


def attention(
    module: nn.Module,
    query: Tensor | Quantized,
    key: Tensor | Quantized,
    value: Tensor | Quantized,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """query, key, value (batch, heads, tokens, head_dim) -> context (batch, tokens, heads, head_dim), scores."""
    q, k, v = (_codes(x) for x in (query, key, value))
    scores = matmul(q, k.transpose(-1, -2), scaling)  # (B, H, T, D) x (B, H, D, T) -> (B, H, T, T)
    masked = scores if attention_mask is None else scores + attention_mask
    probs = nn.functional.softmax(masked, dim=-1, dtype=torch.float32)
    probs = nn.functional.dropout(probs, dropout, module.training)
    quantizer = getattr(module, "probs_quantizer", None)
    p = _codes(probs) if quantizer is None else quantizer(probs, v.codes.dtype)
    return matmul(p, v).transpose(1, 2).contiguous(), scores


def _codes(x: Tensor | Quantized) -> Quantized:
    return x if isinstance(x, Quantized) else as_codes(x, gemm_dtype(x))


def register() -> None:
    """Make the name known to transformers, for attention and for its mask (without which padding would be attended)."""
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, eager_mask)
