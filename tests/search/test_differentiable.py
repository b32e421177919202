"""AQ-BERT's search on a tiny model: its size goes where it should, and a killed one ends with the same bits."""

import numpy as np
import pytest

from bitbert.errors import SearchError
from bitbert.recipes.schema import load_recipe
from bitbert.search import differentiable
from bitbert.search.differentiable import CHECKPOINT, Settings, Target, starting_logits
from bitbert.search.size import byte_prices
from bitbert.search.space import Space
from bitbert.training.encode import encode
from bitbert.training.models import load_finetuned, load_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = Settings(epochs=2, batch_size=16, logits_learning_rate=0.2, start=0.0)


class KilledError(Exception):
    pass


@pytest.fixture
def run(tmp_path, data, classifier):
    tokenizer, recipe = load_tokenizer(classifier), load_recipe("kdlsq", ["calibration.batches=2"])
    train = encode(data.split("train"), data.task, tokenizer, 40)

    def call(work="work", settings=QUICK, *, average=2.5, seed=1, at=None, checkpoint_seconds=60):
        def watch(what, done, total):
            if what == "search" and done == at:
                raise KilledError

        student, teacher = (load_finetuned(classifier, data.task) for _ in range(2))
        config = student.config.to_dict() | {"architectures": ["BertForSequenceClassification"]}
        space = Space.of(config, recipe.spec("w8a8"))
        prices = byte_prices(space)
        target = Target(
            prices, average / 8 * prices[:, -1].sum(), np.arange(1, len(prices) + 1)[:, None] / (1 + prices)
        )
        how = {"seed": seed, "calibration": recipe.calibration, "watch": watch}
        models = (student, teacher, train, tokenizer)
        costs = differentiable.search(
            *models, space, target, settings, tmp_path / work, **how, checkpoint_seconds=checkpoint_seconds
        )
        return costs, (np.exp(-costs) * prices).sum() / target.total

    return call


@pytest.mark.parametrize("average", [1.5, 5.0])
def test_the_expected_size_goes_where_it_should(run, average):
    costs, share = run(average=average)
    assert np.allclose(np.exp(-costs).sum(axis=1), 1)
    assert share == pytest.approx(1, abs=0.25)  # it begins at 3.5 bits, 2.33 and 0.7 times the target


def test_without_a_size_term_nothing_pulls(run):
    _, share = run(average=1.5, settings=Settings(epochs=2, batch_size=16, size_weight=0.0, start=0.0))
    assert share > 1.5


def test_where_it_starts(run):
    """At the target, with the costs of its sensitivity and so sure of them as it is told; equal where it is not."""
    costs, share = run(average=1.5, settings=Settings(epochs=1, batch_size=48, warm_up=1.0))
    assert share == pytest.approx(1, rel=1e-3)
    assert len(np.unique(costs.round(6))) > 4
    equal, _ = run("equal", settings=Settings(epochs=1, batch_size=48, warm_up=1.0, start=0.0))
    assert np.allclose(equal, np.log(4))


def test_starting_logits_prefer_what_a_rate_of_exchange_does():
    costs, prices = np.array([[9.0, 1.0], [4.0, 1.0], [2.0, 0.0]]), np.array([[1.0, 2.0]] * 3)
    logits = starting_logits(Target(prices, 4.5, costs))
    gaps = logits[:, 1] - logits[:, 0]
    assert gaps[0] > gaps[1] > gaps[2]
    shares = 1 / (1 + np.exp(-gaps))
    assert (prices[:, 0] + shares * (prices[:, 1] - prices[:, 0])).sum() == pytest.approx(4.5)


@pytest.mark.parametrize("at", [3, 9])
def test_a_killed_search_ends_with_the_same_bits(run, tmp_path, at):
    whole, _ = run("whole")
    with pytest.raises(KilledError):
        run("killed", at=at, checkpoint_seconds=0)
    assert (tmp_path / "killed" / CHECKPOINT).is_file()
    again, _ = run("killed")
    assert np.array_equal(again, whole)


def test_seeds_differ(run):
    brief = Settings(epochs=1, batch_size=48, warm_up=0.0)
    assert not np.array_equal(run("a", brief, seed=1)[0], run("b", brief, seed=2)[0])


def test_no_rows_to_hold_out(run):
    with pytest.raises(SearchError, match=r"held_out 0\.0 leaves a part of 120 training rows empty"):
        run(settings=Settings(held_out=0.0))
