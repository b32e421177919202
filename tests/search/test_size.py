"""The size of a file that is not there yet: equal to what the writer writes, and a sum of prices up to digits."""

import dataclasses
import os

import numpy as np
import pytest

from bitbert.checkpoint import Architecture, write
from bitbert.search.size import byte_prices, file_bytes, fixed_bytes
from bitbert.search.space import Space
from bitbert.spec import QuantSpec
from support.random_model import ARCHITECTURES, random_model, tiny_config, with_mixed_groups

SPECS = {
    "uniform": QuantSpec.uniform(4, 8),
    "rows": QuantSpec.uniform(3, 8, weights={"all": {"granularity": "row"}}),
    "base3": QuantSpec.uniform(2, 8, weights={"all": {"packing": "base3"}}),
    "float32, per token": QuantSpec.uniform(
        8, 8, activations={"linear_input": {"scale": "per_token"}, "query": {"symmetric": False}}, leftovers="float32"
    ),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_byte_of_the_file(tmp_path, architecture, spec):
    config = tiny_config(architecture)
    path = write(random_model(spec, config), tmp_path / "model") / "model.safetensors"
    assert file_bytes(Architecture.from_config(config), spec) == os.path.getsize(path)


@pytest.mark.parametrize("seed", range(5))
def test_every_byte_of_mixed_widths(tmp_path, seed):
    config = tiny_config(hidden_size=52)
    spec = with_mixed_groups(QuantSpec.uniform(8, 8), config, seed)
    path = write(random_model(spec, config), tmp_path / "model") / "model.safetensors"
    assert file_bytes(Architecture.from_config(config), spec) == os.path.getsize(path)


@pytest.mark.parametrize("embeddings", [False, True])
def test_prices_add_up(embeddings):
    """To the bytes of the file, or a few more where its header has fewer digits than the largest one."""
    base = QuantSpec.uniform(8, 8, weights={"all": {"granularity": "row"}})
    space = Space.of(tiny_config(hidden_size=52), base, (0, 2, 3, 8), embeddings)
    prices, fixed = byte_prices(space), fixed_bytes(space)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        chosen = np.array([rng.choice(np.flatnonzero(allowed)) for allowed in space.allowed])
        true = file_bytes(space.architecture, space.spec(space.bits(chosen)))
        priced = fixed + prices[np.arange(len(chosen)), chosen].sum()
        assert true <= priced <= true + 200


def test_leftovers_count():
    config, spec = tiny_config(), QuantSpec.uniform(4, 8)
    wide = dataclasses.replace(spec, leftovers="float32")
    assert file_bytes(Architecture.from_config(config), wide) > file_bytes(Architecture.from_config(config), spec)
