"""True bytes: `os.path.getsize` of a packed BERT-base against float32, random codes, everything on disk counted."""

import math
import os

import numpy as np
import pytest

from bitbert.checkpoint import Architecture, PackedModel, PackedWeight, StaticScale, write
from bitbert.checkpoint.layout import static_activations
from bitbert.checkpoint.packed import scale_shape
from bitbert.spec import QuantSpec, code_range, weight_names

BERT_BASE = {
    "architectures": ["BertForSequenceClassification"],
    "model_type": "bert",
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "vocab_size": 30522,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
}
PARAMETERS = 109_483_778  # as `transformers` counts them


def bert_base(bits, packing):
    """Per-tensor scales for linears, per-row scales for embeddings."""
    embeddings = {f"{kind}_embedding": {"granularity": "row"} for kind in ("word", "position", "token_type")}
    spec = QuantSpec.uniform(bits, 8, weights={"all": {"packing": packing}, **embeddings})
    architecture, rng = Architecture.from_config(BERT_BASE), np.random.default_rng(0)
    low, high, step = code_range(bits, "mid_tread")
    weights = {}
    for name in weight_names(12, pooler=True):
        shape, head_dim = architecture.weight_shape(name), architecture.weight_head_dim(name)
        codes = rng.integers(0, (high - low) // step + 1, shape, np.int16) * step + low
        scale = np.full(scale_shape(spec.weight(name), shape[0], head_dim), 0.01, np.float32)
        weights[name] = PackedWeight.from_codes(name, spec.weight(name), codes.astype(np.int8), scale, head_dim)
    activations = {name: StaticScale(0.03, 128) for name in static_activations(architecture, spec)}
    floats = {name: np.ones(shape, np.float32) for name, shape in architecture.float_shapes().items()}
    quantized = sum(math.prod(weight.shape) for weight in weights.values())
    assert quantized + sum(value.size for value in floats.values()) == PARAMETERS
    return PackedModel(BERT_BASE, spec, weights, activations, floats)


@pytest.mark.parametrize(
    ("bits", "packing", "ratio"),
    [(8, "bits", 3.95), (4, "bits", 7.85), (2, "bits", 15.4), (2, "base3", 19.0), (1, "bits", 31.0)],
)
def test_bert_base_is_really_smaller(tmp_path, bits, packing, ratio):
    path = write(bert_base(bits, packing), tmp_path / "model")
    assert 4 * PARAMETERS / os.path.getsize(path / "model.safetensors") >= ratio  # float32 counted without its header
