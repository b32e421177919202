"""The reference: each operation against the words of docs/numerics.md, and the whole against a stock float BERT."""

import math

import numpy as np
import pytest

from bitbert.runtime.reference import (
    Reference,
    dot,
    layer_norm,
    product,
    quantize_per_token,
    quantize_static,
    softmax_codes,
    total,
)
from bitbert.spec import CodeGrid, QuantSpec
from support.random_model import random_ids, random_model, tiny_config, with_mixed_groups

SIGNED_8 = CodeGrid(1, 255, 128)
SIGNED_1 = CodeGrid(127, 129, 128, step=2)


def by_lanes(values, add):
    """16 lanes from +0, each taking every 16th element, missing ones 0; then l + 8, l + 4, l + 2, l + 1."""
    lane = [np.float32(0)] * 16
    for i in range(-(-len(values) // 16) * 16):
        lane[i % 16] = add(lane[i % 16], values[i] if i < len(values) else np.float32(0) * values[0])
    for width in (8, 4, 2, 1):
        lane = [lane[i] + lane[i + width] for i in range(width)]
    return lane[0]


@pytest.mark.parametrize("n", [1, 15, 16, 17, 312, 768])
def test_sums_run_in_sixteen_lanes(n):
    x = np.random.default_rng(n).standard_normal(n).astype(np.float32)
    assert total(x) == by_lanes(list(x), lambda lane, value: np.float32(lane + value))
    pairs = [complex(a, b) for a, b in zip(x, x[::-1], strict=True)]  # exact: a float32 fits a float64
    fma = lambda lane, z: np.float32(np.longdouble(z.real) * np.longdouble(z.imag) + np.longdouble(lane))  # noqa: E731
    assert dot(x, x[::-1]) == by_lanes(pairs, fma)


def test_layer_norm_is_layer_norm():
    rng = np.random.default_rng(0)
    x, gamma, beta = (rng.standard_normal(shape).astype(np.float32) for shape in ((5, 100), 100, 100))
    wide = x.astype(np.float64)
    expected = (wide - wide.mean(1, keepdims=True)) / np.sqrt(wide.var(1, keepdims=True) + 1e-12) * gamma + beta
    np.testing.assert_allclose(layer_norm(x, gamma, beta, np.float32(1e-12)), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("x", "code"),
    [(0.0, 128), (0.5, 128), (1.5, 130), (2.5, 130), (-0.5, 128), (126.6, 255), (1e30, 255), (-1e30, 1), (np.nan, 1)],
)
def test_quantize_rounds_ties_to_even_and_clamps(x, code):
    assert quantize_static(np.float32([x]), np.float32(1), SIGNED_8).codes == [code]


@pytest.mark.parametrize(("x", "code"), [(0.0, 129), (-0.0, 129), (3.0, 129), (-1e-30, 127), (np.nan, 127)])
def test_one_bit_takes_the_sign(x, code):
    assert quantize_static(np.float32([x]), np.float32(1), SIGNED_1).codes == [code]


def test_a_zero_point_shifts_the_range():
    codes = quantize_static(np.float32([-99, -1, 0, 1, 99]), np.float32(1), CodeGrid(0, 15, 3)).codes
    assert codes.tolist() == [0, 2, 3, 4, 15]


def test_per_token_scales_come_from_each_row_alone():
    x = np.float32([[1, -2, 0.5], [0, 0, 0], [np.nan, 4, -1]])
    got = quantize_per_token(x, True, SIGNED_8)
    assert got.scale[0] == np.float32(2) / np.float32(127)
    assert got.scale[1] == np.float32(2.0**-60) / np.float32(127)
    assert got.codes[0].tolist() == [192, 1, 160]  # 63.5 ties to even: 64
    assert got.codes[1].tolist() == [128, 128, 128]
    assert got.codes[2].tolist() == [1, 255, 96]
    alone = quantize_per_token(x[:1], True, SIGNED_8)
    np.testing.assert_array_equal(alone.codes, got.codes[:1])


def test_per_token_ranges_with_a_zero_point_hold_zero():
    x = np.float32([[2, 4], [-3, -1], [-1, 3]])
    got = quantize_per_token(x, False, CodeGrid(0, 15, 0))
    assert got.zero_point.ravel().tolist() == [0, 15, 4]
    assert got.codes.tolist() == [[7, 15], [0, 10], [0, 15]]
    np.testing.assert_array_equal(got.scale.ravel(), np.float32([4, 3, 4]) / np.float32(15))


def test_softmax_codes_are_those_of_the_softmax():
    scores = np.random.default_rng(0).standard_normal((3, 50)).astype(np.float32)
    exact = np.exp(scores.astype(np.float64))
    exact /= exact.sum(1, keepdims=True)
    codes = softmax_codes(scores, np.float32(1 / 255), CodeGrid(0, 255, 0))
    assert np.abs(codes - exact * 255).max() <= 0.5 + 1e-4


def test_products_are_exact_up_to_the_largest_inner_dimension():
    a, w = np.full((1, 65536), 255), np.full((1, 65536), -127)
    assert product(a, w) == [[-255 * 127 * 65536]]


def test_pruned_rows_are_zero_whatever_their_bias():
    config = tiny_config()
    model = random_model(with_mixed_groups(QuantSpec.uniform(4, 8), config, widths=(0, 4)), config)
    name = "encoder.layer.0.intermediate.dense"
    pruned = model.weights[f"{name}.weight"].row_bits() == 0
    assert 0 < pruned.sum() < len(pruned)
    trace = Reference(model).run(random_ids(config, [9])[0][0]).trace
    values = trace["encoder.layer.0.intermediate.intermediate_act_fn.input.value"]
    assert (values[:, pruned] == 0).all()
    assert (values[:, ~pruned] != 0).all()


@pytest.mark.parametrize("hidden_act", ["gelu", "relu", "gelu_new"])
def test_with_fine_activations_it_is_bert(hidden_act):
    """8-bit codes are fine enough to tell a wrong order, scale or residual from rounding."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    config = tiny_config(hidden_act=hidden_act)
    model = random_model(QuantSpec.uniform(8, 8, activations={"linear_input": {"scale": "per_token"}}), config)
    stock = transformers.BertForSequenceClassification(transformers.BertConfig(**config)).eval()
    values = {name: weight.codes() * weight.row_scale()[:, None] for name, weight in model.weights.items()}
    state = {name: torch.from_numpy(np.array(value)) for name, value in (values | dict(model.floats)).items()}
    prefixed = {name if name.startswith("classifier.") else f"bert.{name}": value for name, value in state.items()}
    stock.load_state_dict(prefixed)
    for ids, types in zip(*random_ids(config, [5, 40]), strict=True):
        got = Reference(model).run(ids, types)
        with torch.no_grad():
            inputs = {"input_ids": torch.from_numpy(ids)[None], "token_type_ids": torch.from_numpy(types)[None]}
            hidden = stock.bert(**inputs).last_hidden_state[0].numpy()
            logits = stock(**inputs).logits[0].numpy()
        error = math.sqrt(np.mean((got.hidden - hidden) ** 2) / np.mean(hidden**2))
        assert error < 0.03
        np.testing.assert_allclose(got.logits, logits, rtol=0, atol=0.1)
        np.testing.assert_allclose(got.mean, got.hidden.mean(0), rtol=0, atol=1e-6)
