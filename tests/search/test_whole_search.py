"""A search from end to end: what it writes, and that the file it promises is the one that a model of its spec makes."""

import dataclasses
import json
import os

import pytest

from bitbert.checkpoint import write
from bitbert.errors import CheckpointError, SearchError
from bitbert.freeze import freeze
from bitbert.prepare import prepare
from bitbert.recipes.schema import Calibration
from bitbert.search.budget import Budget
from bitbert.search.differentiable import Settings
from bitbert.search.run import Plan, search
from bitbert.spec import QuantSpec
from bitbert.training.calibrate import calibrate
from bitbert.training.encode import encode, some_batches
from bitbert.training.models import load_finetuned, load_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

PLAN = Plan(texts=32, choices=(0, 1, 2, 4, 8))
AQ = Plan(method="aq", aq=Settings(epochs=1, batch_size=32))
BITS = Budget("average bits", 3.0)


def packed_bytes(directory, spec, data, classifier):
    """Size of the file of an untrained model of this spec, and whether the engine opens it."""
    bitbert = pytest.importorskip("bitbert", reason="the native engine is not built")
    tokenizer, model = load_tokenizer(classifier), load_finetuned(classifier, data.task)
    prepare(model, spec)
    train = encode(data.split("train"), data.task, tokenizer, 40)
    calibrate(model, some_batches(train, tokenizer, 16, 1, 0), Calibration(batches=1))
    files = {"tokenizer.json": (classifier / "tokenizer.json").read_bytes()}
    write(freeze(model, spec), directory, files=files)
    assert len(bitbert.load(directory).predict(["the film is good"])) == 1
    return os.path.getsize(directory / "model.safetensors")


@pytest.mark.parametrize("plan", [PLAN, dataclasses.replace(PLAN, search_embeddings=True), AQ])
def test_the_promised_file(tmp_path, data, classifier, plan):
    limit = 0.0135
    report = search(classifier, data, tmp_path / "found", Budget("MiB", limit), plan)
    spec = QuantSpec.from_json(json.loads((tmp_path / "found" / "spec.json").read_text()))
    size = packed_bytes(tmp_path / "packed", spec, data, classifier)
    assert size == report["predicted"]["bytes"]
    assert 0.985 * limit <= size / 2**20 <= limit  # 1 %, and a few bytes of the header of a file this small
    assert sorted(path.name for path in (tmp_path / "found").iterdir()) == ["bits.svg", "search.json", "spec.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found", "packed"]


def test_the_report(tmp_path, data, classifier):
    report = search(classifier, data, tmp_path / "found", BITS, PLAN)
    stored = json.loads((tmp_path / "found" / "search.json").read_text())
    assert stored == {key: value for key, value in report.items() if key != "output"}
    assert 2.9 <= stored["predicted"]["average_bits"] <= 3
    assert stored["predicted"]["average bits"] == pytest.approx(stored["predicted"]["average_bits"])
    query = stored["tensors"]["encoder.layer.0.attention.self.query.weight"]
    assert sum(query["groups"].values()) == 2
    assert list(query["cost"]) == ["0", "1", "2", "4", "8"]
    assert (stored["seed"], stored["texts"], stored["choices"]) == (42, 32, [0, 1, 2, 4, 8])
    assert "aq" not in stored


def test_the_same_seed_finds_the_same(tmp_path, data, classifier):
    for name in ("one", "two"):
        search(classifier, data, tmp_path / name, BITS, PLAN)
    assert (tmp_path / "one" / "spec.json").read_bytes() == (tmp_path / "two" / "spec.json").read_bytes()


def test_an_interrupted_search_goes_on(tmp_path, data, classifier):
    def interrupt(what, done, total):
        if (what, done) == ("search", 2):
            raise KeyboardInterrupt

    search(classifier, data, tmp_path / "whole", BITS, AQ)
    with pytest.raises(KeyboardInterrupt):
        search(classifier, data, tmp_path / "found", BITS, AQ, watch=interrupt, checkpoint_seconds=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found.work", "whole"]
    with pytest.raises(CheckpointError, match="was not finished: go on with --resume"):
        search(classifier, data, tmp_path / "found", BITS, AQ)
    other = dataclasses.replace(AQ, aq=Settings(epochs=2, batch_size=32))
    with pytest.raises(CheckpointError, match=r"holds a run with aq\.epochs 1, not 2"):
        search(classifier, data, tmp_path / "found", BITS, other, resume=True)
    search(classifier, data, tmp_path / "found", BITS, AQ, resume=True)
    assert (tmp_path / "found" / "spec.json").read_bytes() == (tmp_path / "whole" / "spec.json").read_bytes()
    assert not (tmp_path / "found.work").exists()


def test_what_is_there_is_left_alone(tmp_path, data, classifier):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(CheckpointError, match="exists: choose another directory"):
        search(classifier, data, tmp_path / "mine", BITS, PLAN)
    with pytest.raises(CheckpointError, match="holds no search and is not overwritten"):
        search(classifier, data, tmp_path / "mine", BITS, PLAN, overwrite=True)


@pytest.mark.parametrize(("plan", "budget"), [(AQ, Budget("MiB", 0.0135)), (PLAN, BITS)])
def test_embeddings_are_searched_by_sensitivity_under_bytes_only(tmp_path, data, classifier, plan, budget):
    with pytest.raises(
        SearchError, match="embeddings are searched by the method sensitivity under a budget in MiB only"
    ):
        search(classifier, data, tmp_path / "x", budget, dataclasses.replace(plan, search_embeddings=True))
