"""PackedWeight and PackedModel: groups, scales and grids come out as the spec says."""

import numpy as np
import pytest

from bitbert.checkpoint.packed import PackedWeight, code_grid, group_count
from bitbert.errors import CheckpointError
from bitbert.spec import CodeGrid, QuantSpec, WeightSpec, row_groups
from support.random_model import random_codes, random_model, tiny_config, with_mixed_groups

LAYER = "encoder.layer.0"


def test_group_widths_and_scales_reach_their_rows():
    spec = WeightSpec(granularity="row_group", group_bits=(4, 0, 1, 2))  # two heads of 26 rows: 16 + 10, 16 + 10
    row_bits = np.repeat([4, 0, 1, 2], [16, 10, 16, 10]).astype(np.uint8)
    codes = random_codes(np.random.default_rng(0), row_bits, 7, "mid_tread")
    weight = PackedWeight.from_codes("w", spec, codes, np.array([0.5, 0, 0.25, 1], np.float32), head_dim=26)
    np.testing.assert_array_equal(weight.row_bits(), row_bits)
    np.testing.assert_array_equal(weight.row_scale(), np.repeat(np.float32([0.5, 0, 0.25, 1]), [16, 10, 16, 10]))
    np.testing.assert_array_equal(weight.codes(), codes)
    assert weight.packed.nbytes == 16 * 4 + 0 + 16 * 1 + 10 * 2


@pytest.mark.parametrize(("rows", "head_dim"), [(1, None), (16, None), (40, None), (52, 26), (96, 32), (30522, None)])
def test_group_count_counts_what_row_groups_lists(rows, head_dim):
    assert group_count(rows, head_dim) == len(row_groups(rows, head_dim))


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        ([0.0], r"scale of row 0 is 0.0, it must be finite and positive"),
        ([-1.0], "is -1.0, it must be finite and positive"),
        ([np.nan], "is nan"),
        ([np.inf], "is inf"),
        ([1.0, 1.0], r"shape \(2,\), expected \(1,\)"),
    ],
)
def test_bad_scales_are_refused_by_name(scale, message):
    with pytest.raises(CheckpointError, match=f"^the.name: .*{message}"):
        PackedWeight.from_codes("the.name", WeightSpec(8), np.ones((3, 2), np.int8), np.array(scale, np.float32))


def test_a_pruned_row_has_scale_zero():
    spec = WeightSpec(0, granularity="row")
    with pytest.raises(CheckpointError, match="it must be 0, since it is pruned"):
        PackedWeight.from_codes("w", spec, np.zeros((2, 3), np.int8), np.array([0, 1], np.float32))


def test_group_bits_must_cover_the_matrix():
    spec = WeightSpec(group_bits=(4, 4), granularity="row_group")
    with pytest.raises(CheckpointError, match=r"^w: group_bits has 2 entries, expected 3"):
        PackedWeight.from_codes("w", spec, np.zeros((40, 2), np.int8), np.ones(3, np.float32))


@pytest.mark.parametrize(
    ("kind", "options", "grid"),
    [
        ("attention.self.input", {}, CodeGrid(1, 255, 128)),
        ("attention.self.key.output", {}, CodeGrid(-127, 127, 0)),
        ("attention.self.value.output", {"bits": 1}, CodeGrid(-1, 1, 0, 2)),
        ("attention.self.query.output", {"symmetric": False, "bits": 4}, CodeGrid(0, 15, 9)),
        ("attention.self.probs", {"symmetric": False}, CodeGrid(0, 255, 0)),
    ],
)
def test_code_grid(kind, options, grid):
    spec = QuantSpec.uniform(8, 8, activations={"linear_input": options, "query": options, "probs": options})
    if "key" in kind or "value" in kind:
        spec = QuantSpec.uniform(8, 8, activations={"key": options, "value": options})
    assert code_grid(spec, f"{LAYER}.{kind}", 9) == grid


def test_random_models_use_the_whole_grid():
    model = random_model(with_mixed_groups(QuantSpec.uniform(4, 8), tiny_config()))
    widths = {int(bits) for weight in model.weights.values() for bits in weight.group_bits()}
    assert widths == {0, 1, 2, 3, 4, 8}
