"""Random packed encoders of any shape and spec: what tests of files and engines are fed."""

import dataclasses

import numpy as np

from bitbert.checkpoint import Architecture, PackedModel, PackedWeight, StaticScale, write
from bitbert.checkpoint.layout import static_activations
from bitbert.checkpoint.packed import code_grid, group_count, has_zero_point
from bitbert.spec import Override, QuantSpec, code_range, row_groups, tensor_kind, weight_names

ARCHITECTURES = (
    "BertModel",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertForQuestionAnswering",
)
WEIGHT_RANGE = 0.12  # with the ranges below, codes spread over their grids and no activation dies

ACTIVATION_RANGES = {
    "linear_input": 3.0,
    "pooler_input": 3.0,
    "query": 2.0,
    "key": 2.0,
    "value": 2.0,
    "probs": 1.0,
    "gelu_input": 4.0,
}


def tiny_config(architecture="BertForSequenceClassification", **changes):
    """A Hugging Face config of a two-layer encoder that runs in milliseconds."""
    return {
        "architectures": [architecture],
        "model_type": "bert",
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 96,
        "vocab_size": 101,
        "max_position_embeddings": 40,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
    } | changes


def random_model(spec=None, config=None, seed=0):
    """A `PackedModel` with random codes and plausible scales; everything is exact in the leftover dtype."""
    spec, config = spec or QuantSpec(), config or tiny_config()
    rng = np.random.default_rng(seed)
    architecture = Architecture.from_config(config)
    names = weight_names(architecture.num_hidden_layers, architecture.pooler)
    return PackedModel(
        config,
        spec,
        {name: _weight(rng, name, spec, architecture) for name in names},
        {name: _activation(rng, name, spec) for name in static_activations(architecture, spec)},
        {name: _float(rng, name, shape, spec) for name, shape in architecture.float_shapes().items()},
    )


def write_random(path, **changes):
    """A packed directory of such a model; `changes` are of its config."""
    return write(random_model(config=tiny_config(**changes)), path)


def with_mixed_groups(spec, config, seed=0, widths=(0, 1, 2, 3, 4, 8)):
    """`spec` with every row group of every linear layer at a random one of `widths`; 0 is pruned."""
    rng = np.random.default_rng(seed)
    architecture = Architecture.from_config(config)
    overrides = []
    for name in weight_names(architecture.num_hidden_layers, architecture.pooler):
        if tensor_kind(name) == "linear":
            groups = group_count(architecture.weight_shape(name)[0], architecture.weight_head_dim(name))
            bits = rng.choice(widths, groups).tolist()
            overrides.append(Override(name, {"group_bits": bits, "granularity": "row_group"}))
    return dataclasses.replace(spec, overrides=tuple(overrides))


def random_ids(config, lengths, seed=0):
    """Token ids and token types, one int32 array a sequence."""
    rng = np.random.default_rng(seed)
    ids = [rng.integers(0, config["vocab_size"], n, dtype=np.int32) for n in lengths]
    types = [rng.integers(0, config["type_vocab_size"], n, dtype=np.int32) for n in lengths]
    return ids, types


def random_codes(rng, row_bits, columns, grid):
    """Int8 codes (rows, columns) drawn evenly from the grid of each row."""
    codes = np.zeros((len(row_bits), columns), np.int8)
    for bits in np.unique(row_bits):
        low, high, step = code_range(int(bits), grid)
        rows = np.flatnonzero(row_bits == bits)
        codes[rows] = rng.integers(0, (high - low) // step + 1, (len(rows), columns)) * step + low
    return codes


def _weight(rng, name, spec, architecture):
    weight, shape, head_dim = spec.weight(name), architecture.weight_shape(name), architecture.weight_head_dim(name)
    unpacked = PackedWeight(name, weight, shape, head_dim, np.empty(0, np.uint8), np.empty(0, np.float32))
    top = np.array([code_range(int(bits), weight.grid)[1] for bits in unpacked.row_bits()])
    row_scale = np.where(top > 0, WEIGHT_RANGE / np.maximum(top, 1), 0)
    first_rows = {
        "tensor": [0],
        "row": range(shape[0]),
        "row_group": [row for row, _ in row_groups(shape[0], head_dim)],
    }
    scale = row_scale[list(first_rows[weight.granularity])]
    scale = _stored(spec, scale * rng.uniform(0.7, 1.3, scale.shape))
    codes = random_codes(rng, unpacked.row_bits(), shape[1], weight.grid)
    return PackedWeight.from_codes(name, weight, codes, scale, head_dim)


def _activation(rng, name, spec):
    grid = code_grid(spec, name)
    zero_point = int(rng.integers(0, grid.high + 1)) if has_zero_point(spec, name) else grid.zero_point
    steps = max(1, grid.high - (grid.high + 1) // 2 if has_zero_point(spec, name) else grid.high - grid.zero_point)
    scale = ACTIVATION_RANGES[tensor_kind(name)] / steps * rng.uniform(0.8, 1.2)
    return StaticScale(float(_stored(spec, np.array([scale]))[0]), zero_point)


def _float(rng, name, shape, spec):
    around = 1.0 if name.endswith("LayerNorm.weight") else 0.0
    return _stored(spec, around + 0.2 * rng.standard_normal(shape))


def _stored(spec, values):
    return values.astype(spec.leftovers).astype(np.float32)
