"""Estimated costs: equal to the quadratic form that they claim to be, and to the measured truth where that is small."""

import numpy as np
import pytest
import torch

from bitbert.prepare import base_model
from bitbert.recipes.schema import load_recipe
from bitbert.search.divergence import answers, random_direction
from bitbert.search.quantized import change
from bitbert.search.sensitivity import measured, rank_correlation, sensitivity
from bitbert.search.space import Space
from bitbert.spec import row_groups
from support.tiny_bert import batch, stock_model

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS = ("BertForSequenceClassification", "BertForQuestionAnswering", "BertForTokenClassification")


def model_and_space(kind=KINDS[0], choices=(0, 1, 2, 4, 8), **changes):
    model = stock_model(kind, **changes)
    config = model.config.to_dict() | {"architectures": [kind]}
    return model, Space.of(config, load_recipe("kdlsq").spec("w8a8"), choices, embeddings=True)


def batches(model, count=3):
    return [batch(model.config, [5, 9, 17, 20] * 8, seed) for seed in range(count)]


@pytest.mark.parametrize("tensor", ["encoder.layer.1.intermediate.dense.weight", "embeddings.word_embeddings.weight"])
def test_one_text_by_the_formula(tensor):
    """1/2 (g^T d)^2 with the gradient of the weight that autograd has."""
    model, space = model_and_space(choices=(0, 2))
    text = batch(model.config, [11])
    where = space.slices[tensor]
    costs = sensitivity(model, [text], space, seed=3)[where]
    weight = base_model(model).get_parameter(tensor).requires_grad_()
    bias = getattr(base_model(model).get_submodule(tensor.removesuffix(".weight")), "bias", None)
    logits = answers(model, text)
    (gradient,) = torch.autograd.grad((logits * direction(logits, 3)).sum(), weight)
    rows = row_groups(len(weight)) if bias is not None else [(0, len(weight))]
    ternary = change(weight.detach(), 2, rows, granularity="row" if bias is None else "row_group")
    products = [(gradient * ternary)[first : first + count].sum().item() for first, count in rows]
    assert costs[:, 1] == pytest.approx([0.5 * p**2 for p in products], rel=1e-3, abs=1e-12)


def direction(logits, seed):
    return random_direction(logits.detach(), torch.Generator().manual_seed(seed))


def test_pruning_takes_the_bias_too():
    model, space = model_and_space(choices=(0, 2))
    tensor = "encoder.layer.0.attention.output.dense.weight"
    item = space.slices[tensor].start
    layer = base_model(model).get_submodule(tensor.removesuffix(".weight"))
    with torch.no_grad():
        layer.weight[:16] = 0.0
    assert sensitivity(model, batches(model, 1), space, seed=0)[item, 0] > 0
    with torch.no_grad():
        layer.bias[:16] = 0.0
    assert sensitivity(model, batches(model, 1), space, seed=0)[item, 0] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_truth_where_it_is_small(kind):
    model, space = model_and_space(kind)
    shown = batches(model)
    rng = np.random.default_rng(0)
    tables = [i for i, item in enumerate(space.items) if item.is_table]
    drawn = [*tables, *rng.choice(np.arange(max(tables) + 1, len(space.items)), 15, replace=False)]
    pairs = [(int(i), int(rng.choice(np.flatnonzero(space.allowed[i])))) for i in drawn]
    true = measured(model, shown, space, pairs)
    costs = sensitivity(model, shown, space, seed=0)
    estimated = np.array([costs[pair] for pair in pairs])
    assert rank_correlation(estimated, true) > 0.97
    # 96 texts: the mean of their squares has a standard deviation of 1/7 of itself where they are normal.
    assert 0.7 < np.median(estimated / true) < 1.4


def test_first_order_ranks_alike():
    model, space = model_and_space(choices=(0, 2, 4))
    shown = batches(model, 2)
    second = sensitivity(model, shown, space, seed=0)
    first = sensitivity(model, shown, space, seed=0, estimate="first_order")
    assert rank_correlation(first[space.allowed], second[space.allowed]) > 0.97


def test_measuring_and_estimating_leave_the_model_as_it_was():
    model, space = model_and_space(choices=(0, 2, 4))
    before = {name: x.clone() for name, x in model.state_dict().items()}
    shown = batches(model, 1)
    sensitivity(model, shown, space, seed=0)
    measured(model, shown, space, [(0, 1), (5, 0), (20, 2)])
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())


def test_the_same_seed_gives_the_same_costs():
    model, space = model_and_space(choices=(0, 2))
    shown = batches(model, 1)
    one, same, other = (sensitivity(model, shown, space, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert np.isinf(one[~space.allowed]).all()
