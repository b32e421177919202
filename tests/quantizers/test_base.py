"""Properties of every weight quantizer: method, width, grid and granularity."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitbert.errors import SpecError
from bitbert.quantizers import FloatWeight, make_weight
from bitbert.spec import WeightSpec, row_groups
from quantizers.cases import GRANULARITIES, KINDS, grid_points, matrices, quantizer_of, spec_of, value

every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind)))
every_granularity = pytest.mark.parametrize("granularity", GRANULARITIES)
few = settings(max_examples=5, deadline=None)


@every_kind
@every_granularity
@few
@given(matrices())
def test_codes_are_on_the_grid(kind, granularity, weight):
    codes, scale, bound = quantizer_of(weight, spec_of(kind, granularity=granularity))(weight)
    points = grid_points(*kind[1:])
    assert torch.isin(codes.double(), points).all()
    assert bound == points.max()
    assert (scale > 0).all()
    assert scale.shape == ((1, 1) if granularity == "tensor" else (len(weight), 1))


@every_kind
@every_granularity
@few
@given(matrices())
def test_quantizing_twice_is_quantizing_once(kind, granularity, weight):
    """Also where the scale is computed anew: max|w|, mean|w| and the mean of what TWN keeps are those of the values."""
    quantizer = quantizer_of(weight, spec_of(kind, granularity=granularity))
    once = quantizer(weight)
    twice = quantizer(value(once))
    assert torch.equal(once.codes, twice.codes)
    assert torch.equal(once.scale, twice.scale)


@every_kind
@few
@given(matrices())
def test_signs_are_kept(kind, weight):
    quantizer = quantizer_of(weight, spec_of(kind))
    codes, mirrored = quantizer(weight).codes, quantizer(-weight).codes
    assert (codes * weight >= 0).all()
    assert torch.equal(codes[weight != 0], -mirrored[weight != 0])
    has_zero = 0 in grid_points(*kind[1:])
    assert (codes[weight == 0] == (0 if has_zero else 1)).all()


@pytest.mark.parametrize("kind", [k for k in KINDS if k[0] not in ("ternary", "binary")], ids=str)
@every_granularity
@few
@given(matrices())
def test_the_nearest_code_is_taken(kind, granularity, weight):
    codes, scale, _ = quantizer_of(weight, spec_of(kind, granularity=granularity))(weight)
    points, t = grid_points(*kind[1:]), weight.double() / scale
    nearest = (t[..., None] - points).abs().amin(-1)
    # t was rounded twice before: by its reciprocal scale and by the product
    assert ((t - codes).abs() <= nearest + 2**-22 * t.abs()).all()


@every_kind
@few
@given(matrices(), st.data())
def test_a_unit_knows_nothing_of_the_others(kind, weight, data):
    head_dim = data.draw(st.sampled_from([d for d in range(1, len(weight) + 1) if len(weight) % d == 0]))
    for granularity, units in (
        ("row", [(i, 1) for i in range(len(weight))]),
        ("row_group", row_groups(len(weight), head_dim)),
    ):
        together = quantizer_of(weight, spec_of(kind, granularity=granularity), head_dim)(weight)
        for start, count in units:
            part = weight[start : start + count]
            alone = quantizer_of(part, spec_of(kind))(part)
            # computed scales are sums of the same numbers, which may be added in another order
            torch.testing.assert_close(
                together.scale[start : start + count], alone.scale.expand(count, 1), rtol=2**-10, atol=0
            )
            if torch.equal(together.scale[start : start + 1], alone.scale):
                assert torch.equal(together.codes[start : start + count], alone.codes)


MIXED = [(0, 1, 2), (8, 0, 4), (3, 3, 1), (0, 0, 0), (2, 5, 7)]


@pytest.mark.parametrize("granularity", ["row", "row_group"])
@pytest.mark.parametrize("grid", ["mid_tread", "mid_rise"])
@pytest.mark.parametrize("method", ["minmax", "learned_range", "lsq"])
@pytest.mark.parametrize("bits", MIXED, ids=str)
def test_mixed_widths_are_those_of_each_group(bits, method, grid, granularity):
    weight = torch.randn(40, 9, generator=torch.Generator().manual_seed(0))
    spec = WeightSpec(method=method, grid=grid, granularity=granularity, group_bits=bits)
    quantizer = quantizer_of(weight, spec)
    together, (frozen, frozen_scale) = quantizer(weight), quantizer.freeze(weight)
    assert torch.equal(frozen, together.codes.to(torch.int8))
    assert len(frozen_scale) == (40 if granularity == "row" else 3)
    for width, (start, count) in zip(bits, row_groups(40), strict=True):
        rows = slice(start, start + count)
        if width == 0:
            assert not together.codes[rows].any()
            assert not together.scale[rows].any()
            continue
        alone = quantizer_of(weight[rows], WeightSpec(width, method, grid, granularity))(weight[rows])
        assert torch.equal(together.codes[rows], alone.codes)
        assert torch.equal(together.scale[rows], alone.scale.expand(count, 1))


@pytest.mark.parametrize(("method", "bits"), [("ternary", 2), ("binary", 1)])
def test_computed_scales_go_with_pruned_groups(method, bits):
    weight = torch.randn(40, 9, generator=torch.Generator().manual_seed(0))
    quantizer = quantizer_of(weight, WeightSpec(bits, method, granularity="row_group", group_bits=(bits, 0, bits)))
    codes, scale = quantizer.freeze(weight)
    assert not codes[16:32].any()
    assert scale[1] == 0
    assert codes[:16].any()
    assert codes[32:].any()
    bias = torch.ones(40)
    assert quantizer.kept(bias).tolist() == [1.0] * 16 + [0.0] * 16 + [1.0] * 8


@every_kind
@every_granularity
def test_gathered_rows_are_those_of_the_whole(kind, granularity):
    table = torch.randn(40, 12, generator=torch.Generator().manual_seed(1))
    ids = torch.tensor([[3, 39, 3], [0, 17, 16]])
    quantizer = quantizer_of(table, spec_of(kind, granularity=granularity))
    whole, rows = quantizer(table), quantizer.gather(table, ids)
    assert torch.equal(rows.codes, whole.codes[ids])
    assert torch.equal(rows.codes * rows.scale, (whole.codes * whole.scale)[ids])


def test_gathered_rows_of_mixed_widths():
    table = torch.randn(40, 12, generator=torch.Generator().manual_seed(1))
    ids = torch.tensor([[3, 39, 3], [0, 17, 16]])
    for method in ("minmax", "learned_range", "lsq"):
        for granularity in ("row", "row_group"):
            spec = WeightSpec(method=method, granularity=granularity, group_bits=(1, 0, 4))
            quantizer = quantizer_of(table, spec)
            whole, rows = quantizer(table), quantizer.gather(table, ids)
            assert torch.equal(rows.codes * rows.scale, (whole.codes * whole.scale)[ids])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind[0] != "mse_gradient"])
def test_gathered_rows_get_the_gradient_of_the_whole(kind):
    """All methods but the one whose scale learns from every element, whatever its gradient."""
    torch.manual_seed(2)
    table, ids, grad = torch.randn(20, 6), torch.tensor([1, 5, 5]), torch.randn(3, 6)
    quantizer = quantizer_of(table, spec_of(kind))
    one, other = (table.clone().requires_grad_() for _ in range(2))
    quantizer.gather(one, ids).codes.backward(grad)
    from_gather = [p.grad.clone() for p in quantizer.parameters()]
    quantizer.zero_grad()
    quantizer(other).codes[ids].backward(grad)
    torch.testing.assert_close(one.grad, other.grad)
    for gathered, parameter in zip(from_gather, quantizer.parameters(), strict=True):
        torch.testing.assert_close(gathered, parameter.grad)


@pytest.mark.parametrize("leftovers", ["float16", "float32"])
@every_kind
def test_scales_have_the_precision_of_the_file(kind, leftovers):
    weight = torch.randn(30, 7, generator=torch.Generator().manual_seed(3))
    scale = quantizer_of(weight, spec_of(kind, granularity="row"), leftovers=leftovers)(weight).scale
    rounded = scale.to(getattr(torch, leftovers)).float()
    assert torch.equal(scale, rounded)
    assert len(scale.unique()) > 25


def test_a_tensor_of_zeros_has_a_scale():
    for kind in KINDS:
        codes, scale, _ = quantizer_of(torch.zeros(3, 4), spec_of(kind))(torch.zeros(3, 4))
        assert torch.isfinite(codes).all()
        assert (scale > 0).all()
        assert scale.half().all()


def test_a_weight_without_bits_stays_float():
    quantizer = make_weight(WeightSpec(None), row_groups(4), "float16")
    weight = torch.randn(4, 3)
    assert isinstance(quantizer, FloatWeight)
    assert torch.equal(value(quantizer(weight)), weight)
    assert torch.equal(value(quantizer.gather(weight, torch.tensor([2, 0]))), weight[[2, 0]])


def test_methods_of_one_width_refuse_others():
    with pytest.raises(SpecError, match="method 'binary' gives 1-bit weights, not 4-bit ones"):
        WeightSpec(4, "binary")
    with pytest.raises(SpecError, match="method 'ternary' gives 2-bit weights, not 8-bit ones"):
        WeightSpec(method="ternary", granularity="row", group_bits=(2, 0, 8))
    with pytest.raises(SpecError, match="method 'ternary' needs grid 'mid_tread', not 'mid_rise'"):
        WeightSpec(2, "ternary", "mid_rise")


def test_group_bits_must_fit_the_matrix():
    with pytest.raises(SpecError, match="group_bits has 2 entries, expected 3"):
        make_weight(WeightSpec(granularity="row", group_bits=(2, 4)), row_groups(40), "float16")
