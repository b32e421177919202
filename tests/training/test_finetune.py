"""Fine-tuning: what is written, what is reported, and what happens when it cannot be."""

import resource

import pytest
import transformers

import bitbert
from bitbert.errors import CheckpointError, ModelError
from bitbert.training import finetune as module
from bitbert.training.evaluate import evaluate
from bitbert.training.stages import run_stage

pytestmark = pytest.mark.usefixtures("one_thread")

HOW = {"epochs": 6.0, "learning_rate": 3e-3, "batch_size": 16, "progress": False}


def test_what_is_written_is_an_ordinary_checkpoint_that_has_learned(tmp_path, encoder, data, capfd):
    report = bitbert.finetune(encoder, data, tmp_path / "tuned", seed=7, **HOW)
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["tuned"]
    files = {path.name for path in (tmp_path / "tuned").iterdir()}
    assert files == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    stock = transformers.BertForSequenceClassification.from_pretrained(tmp_path / "tuned")
    assert stock.config.id2label == {0: "negative", 1: "positive"}
    assert evaluate(tmp_path / "tuned", data, ["test"])["test"]["accuracy"] == 100
    expected = {"task": "train", "seed": 7, "rows": 120, "max_length": 40, "steps": 48}
    assert {key: report[key] for key in expected} == expected
    assert report["stage"]["epochs"] == 6
    assert report["output"] == str(tmp_path / "tuned")


def test_a_task_by_name_needs_data(tmp_path, encoder):
    with pytest.raises(bitbert.BitbertError, match=r"task sst2: no data; give --data-dir DIR"):
        bitbert.finetune(encoder, "sst2", tmp_path / "tuned")


@pytest.fixture
def untrained(monkeypatch):
    """Training would be a fault."""
    monkeypatch.setattr(module, "run_stage", None)


@pytest.mark.usefixtures("untrained")
def test_an_output_that_exists_is_found_before_training(tmp_path, encoder, data):
    (tmp_path / "tuned").mkdir()
    with pytest.raises(CheckpointError, match="tuned exists"):
        bitbert.finetune(encoder, data, tmp_path / "tuned")


@pytest.mark.usefixtures("untrained")
def test_a_model_that_is_not_there_leaves_nothing_behind(tmp_path, data):
    with pytest.raises(ModelError, match="no model directory"):
        bitbert.finetune(tmp_path / "gone", data, tmp_path / "tuned")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_in_the_end_costs_no_training(tmp_path, encoder, data, monkeypatch):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def then_fill_the_disk(*arguments, **options):
        summary = run_stage(*arguments, **options)
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (10_000, before[1])
        )  # bytes a file may have: stands in for a full disk
        return summary

    monkeypatch.setattr(module, "run_stage", then_fill_the_disk)
    how = HOW | {"epochs": 1.0}
    try:
        with pytest.raises(CheckpointError, match="tuned cannot be written: "):
            bitbert.finetune(encoder, data, tmp_path / "tuned", **how)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["tuned.work"]
    monkeypatch.undo()
    monkeypatch.setattr(transformers.Trainer, "training_step", None)
    assert bitbert.finetune(encoder, data, tmp_path / "tuned", resume=True, **how)["steps"] == 8
    assert [path.name for path in tmp_path.iterdir()] == ["tuned"]
