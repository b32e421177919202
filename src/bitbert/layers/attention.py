"""Attention over integer codes, as a function in transformers' registry: `attn_implementation="bitbert"`.

Q, K, V and the probabilities are quantized by the quantizers that `bitbert.prepare` hangs on the attention module; a module without
them (a teacher) is computed in float. The second result, which stock models hand out as `attentions`, is the *scores* before mask and
softmax, because distillation compares those.
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
OPERANDS = ("query", "key", "value", "probs")


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """query, key, value (batch, heads, tokens, head_dim) -> context (batch, tokens, heads, head_dim), scores."""
    q, k = _quantize(module, "query", query), _quantize(module, "key", key)
    scores = matmul(q, k.transpose(-1, -2), scaling)  # (B, H, T, D) x (B, H, D, T) -> (B, H, T, T)
    masked = scores if attention_mask is None else scores + attention_mask
    probs = nn.functional.softmax(masked, dim=-1, dtype=torch.float32)
    probs = nn.functional.dropout(probs, dropout, module.training)
    context = matmul(_quantize(module, "probs", probs), _quantize(module, "value", value))
    return context.transpose(1, 2).contiguous(), scores


def _quantize(module: nn.Module, operand: str, x: Tensor) -> Quantized:
    quantizers = getattr(module, "operand_quantizers", None)
    if quantizers is None:
        return as_codes(x, gemm_dtype(x))
    if operand == "probs":
        probs: Quantized = quantizers[operand](x, gemm_dtype(x))
        return probs
    # Q, K and V come as transposed views of (B, T, H, D); quantizing that lets the pass run over contiguous memory.
    heads_last: Quantized = quantizers[operand](x.transpose(1, 2), gemm_dtype(x))
    return heads_last.transpose(1, 2)


def register() -> None:
    """Make the name known to transformers, for attention and for its mask (without which padding would be attended)."""
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, eager_mask)
