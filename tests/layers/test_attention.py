"""Attention over codes against attention written out, and through transformers' registry on a stock model."""

import math

import pytest
import torch
from torch import nn

from bitbert.layers import attention
from bitbert.quantizers import Quantized, make_activation
from bitbert.spec import ActivationSpec
from support.tiny_bert import batch, stock_model


class Module(nn.Module):
    """What transformers hands to an attention function, as far as ours looks at it."""

    def __init__(self, quantizer=None):
        super().__init__()
        if quantizer is not None:
            self.probs_quantizer = quantizer


def operand(seed, shape=(2, 3, 5, 8)):
    numbers = torch.randint(-127, 128, shape, generator=torch.Generator().manual_seed(seed))
    return Quantized(numbers.float(), torch.tensor([0.02]), 127)


def test_codes_are_multiplied_scaled_and_quantized():
    query, key, value = (operand(seed) for seed in range(3))
    quantizer = make_activation(ActivationSpec(8), "probs", "float32").eval()
    quantizer.maximum.fill_(0.9)
    mask = torch.zeros(2, 1, 1, 5)
    mask[1, ..., 3:] = torch.finfo(torch.float32).min
    context, scores = attention.attention(Module(quantizer).eval(), query, key, value, mask, 1 / math.sqrt(8))
    q, k, v = ((x.codes * x.scale).double() for x in (query, key, value))
    expected = q @ k.transpose(-1, -2) / math.sqrt(8)
    torch.testing.assert_close(scores.double(), expected, rtol=1e-6, atol=1e-6)
    probs = quantizer((expected + mask).softmax(-1).float())
    expected = ((probs.codes * probs.scale).double() @ v).transpose(1, 2)
    torch.testing.assert_close(context.double(), expected, rtol=1e-5, atol=1e-6)
    assert not probs.codes[1, ..., 3:].any()


@pytest.mark.parametrize("lengths", [[9], [9, 4]])
def test_a_stock_model_computes_as_before(lengths):
    """A teacher runs through it, to hand out its scores: same logits, padding masked."""
    model = stock_model()
    inputs = batch(model.config, lengths)
    with torch.no_grad():
        expected = model(**inputs).logits
        attention.register()
        model.set_attn_implementation(attention.NAME)
        out = model(**inputs, output_attentions=True)
    torch.testing.assert_close(out.logits, expected, rtol=1e-5, atol=1e-5)
    assert out.attentions[0].shape == (len(lengths), 2, 9, 9)
    assert (out.attentions[0] < 0).any()  # scores, not probabilities
