"""Items are the row groups of the spec, and what was chosen for each comes back at its place in the spec."""

import numpy as np
import pytest

from bitbert.errors import SearchError, SpecError
from bitbert.recipes.schema import load_recipe
from bitbert.search.space import Item, Space
from bitbert.spec import QuantSpec, WeightSpec, row_groups
from support.random_model import tiny_config

CONFIG = tiny_config(hidden_size=52)  # heads of 26 rows: groups of 16 and 10
BASE = QuantSpec.uniform(8, 8, weights={"all": {"method": "learned_range"}, "word_embedding": {"granularity": "row"}})
QUERY = "encoder.layer.1.attention.self.query.weight"


def test_items_are_row_groups_in_the_order_of_the_spec():
    space = Space.of(CONFIG, BASE)
    of_query = space.items[space.slices[QUERY]]
    assert [(item.first, item.rows) for item in of_query] == row_groups(52, head_dim=26)
    assert of_query[1] == Item(QUERY, 16, 10, 52)
    assert [item.tensor for item in space.items[-4:]] == ["pooler.dense.weight"] * 4
    assert space.weights.sum() == 2 * (4 * 52 * 52 + 2 * 52 * 96) + 52 * 52


def test_what_is_chosen_stands_in_the_spec():
    space = Space.of(CONFIG, BASE, (0, 2, 4, 8))
    bits = np.random.default_rng(0).choice(space.choices, len(space.items))
    spec = QuantSpec.from_json(space.spec(bits).to_json())
    for name, where in space.slices.items():
        weight = spec.weight(name)
        assert weight.group_bits == tuple(bits[where])
        assert (weight.granularity, weight.method) == ("row_group", "learned_range")
    assert spec.weight("embeddings.word_embeddings.weight") == WeightSpec(8, "learned_range", granularity="row")


@pytest.mark.parametrize(("method", "with_one_bit"), [("learned_range", "learned_range"), ("minmax", "lsq")])
def test_one_bit_takes_a_method_that_can_do_it(method, with_one_bit):
    space = Space.of(CONFIG, QuantSpec.uniform(8, 8, weights={"all": {"method": method}}), (1, 8))
    bits = np.where(np.arange(len(space.items)) == space.slices[QUERY].start, 1, 8)
    spec = space.spec(bits)
    assert spec.weight(QUERY).method == with_one_bit
    assert spec.weight(QUERY.replace("query", "key")).method == method


@pytest.mark.parametrize(
    ("granularity", "of_groups"), [("row", "row"), ("row_group", "row_group"), ("tensor", "row_group")]
)
def test_scales_are_the_recipes_unless_they_are_for_whole_tensors(granularity, of_groups):
    space = Space.of(CONFIG, QuantSpec.uniform(8, 8, weights={"linear": {"granularity": granularity}}))
    assert space.spec(np.full(len(space.items), 4)).weight(QUERY).granularity == of_groups


def test_tables_have_one_width_and_are_not_pruned():
    space = Space.of(CONFIG, BASE, (0, 2, 8), embeddings=True)
    tables = [i for i, item in enumerate(space.items) if item.is_table]
    assert [space.items[i].rows for i in tables] == [101, 40, 2]
    assert not space.allowed[tables, 0].any()
    assert space.allowed.sum() == space.allowed.size - 3
    bits = np.full(len(space.items), 8)
    bits[tables[0]] = 2
    assert space.spec(bits).weight("embeddings.word_embeddings.weight").bits == 2
    assert space.average_bits(bits) == 8


def test_average_bits_counts_weights():
    space = Space.of(CONFIG, BASE)
    bits = np.zeros(len(space.items), int)
    bits[0] = 8
    assert space.average_bits(bits) == pytest.approx(8 * 16 * 52 / space.weights.sum())


@pytest.mark.parametrize("choices", [(4,), (4, 4), (), (0, 9), (-1, 2)])
def test_choices_that_are_none(choices):
    with pytest.raises(SearchError, match="choices"):
        Space.of(CONFIG, BASE, choices)


def test_a_recipe_that_cannot_do_the_choices():
    ternary = load_recipe("kdlsq", ["weights.all.method=ternary", "bits=w2a8"]).spec()
    with pytest.raises(SpecError, match="method 'ternary' gives 2-bit weights, not 4-bit ones"):
        Space.of(CONFIG, ternary, (2, 4))
