"""`bitbert.calibrate_only` from end to end on a tiny model: what is written, that labels play no part, each mistake."""

import json

import numpy as np
import pytest
from datasets import Dataset

import bitbert
from bitbert.errors import BitbertError, CheckpointError, DataError, ModelError, RecipeError, SpecError
from bitbert.training import post_training
from bitbert.training.data import TaskData
from bitbert.training.evaluate import evaluate
from support import films, questions

pytest.importorskip("bitbert._native", reason="the native engine is not built")
pytestmark = pytest.mark.usefixtures("one_thread")

HOW = {"settings": ("reconstruction.steps=10",), "progress": False}
TEXTS = ["the film is good", "the film is bad !", "a dull film", "gripping"] * 5


@pytest.fixture(scope="module")
def made(tmp_path_factory, tuned, data):
    """A packed directory, alone in its place, and the report that came back."""
    output = tmp_path_factory.mktemp("made") / "films-w4a8"
    return output, bitbert.calibrate_only(tuned, output, task=data, bits="w4a8", seed=11, **HOW)


def weights(directory):
    return (directory / "model.safetensors").read_bytes()


# ---- what is written -------------------------------------------------------------------------------------------------


def test_the_report_says_that_it_was_only_calibrated(made, tuned):
    output, report = made
    assert [path.name for path in output.parent.iterdir()] == [output.name]
    assert json.loads((output / "report.json").read_text()) == {k: v for k, v in report.items() if k != "output"}
    expected = {"model": str(tuned), "task": "train", "bits": "w4a8", "seed": 11, "recipe": "ptq", "calibrated_on": 120}
    assert {key: report[key] for key in expected} == expected
    assert "stages" not in report
    assert report["reconstruction"]["steps"] == 10
    assert [one["block"] for one in report["reconstruction"]["blocks"]] == ["embeddings", "encoder.layer.0", "pooler"]
    assert "Calibrated only, not trained: on 120 texts without labels" in (output / "README.md").read_text()


def test_scores_are_those_of_the_engine(made, tuned, data):
    output, report = made
    held_out = ["validation", "test"]
    assert list(report["splits"]) == held_out
    engine, float32 = evaluate(output, data, held_out), evaluate(tuned, data, held_out)
    for name, scores in report["splits"].items():
        assert scores["accuracy"] == engine[name]["accuracy"] == 100
        assert scores["float32"]["accuracy"] == float32[name]["accuracy"] == 100
        assert scores["trained"]["agreement"] == 100


def test_labels_play_no_part(made, tmp_path, tuned, data):
    train = data.split("train")
    flipped = Dataset.from_dict({"text": train["text"][:], "label": [1 - label for label in train["label"]]})
    bitbert.calibrate_only(
        tuned, tmp_path / "out", task=TaskData(data.task, {"train": flipped}), bits="w4a8", seed=11, **HOW
    )
    assert weights(tmp_path / "out") == weights(made[0])


def test_texts_alone_give_the_same_model_and_no_scores(made, tmp_path, tuned, data):
    texts = data.split("train")["text"][:]
    report = bitbert.calibrate_only(tuned, tmp_path / "out", texts=texts, bits="w4a8", seed=11, **HOW)
    assert report["splits"] == {}
    assert "task" not in report
    assert weights(tmp_path / "out") == weights(made[0])
    assert bitbert.load(tmp_path / "out").predict(["the film is gripping"])[0].label == "positive"


def test_texts_may_come_with_data_to_score_on(tmp_path, tuned, data):
    held_out = TaskData(data.task, {"test": data.split("test")})
    report = bitbert.calibrate_only(tuned, tmp_path / "out", texts=TEXTS, task=held_out, **HOW)
    assert report["calibrated_on"] == len(TEXTS)
    assert list(report["splits"]) == ["test"]
    assert report["bits"] == "w8a8"


def test_the_longest_of_the_texts_are_taken(tmp_path, tuned, monkeypatch):
    def stop(model, batches, settings):
        (batch,) = batches
        lengths = batch["attention_mask"].sum(1).tolist()
        assert sorted(lengths) == [n for n in (18, 19, 20, 21) for _ in range(8)]
        raise KeyboardInterrupt

    monkeypatch.setattr(post_training, "calibrate", stop)
    texts = [f"the film is good {'!' * (i % 16)}" for i in range(128)]
    with pytest.raises(KeyboardInterrupt):
        bitbert.calibrate_only(tuned, tmp_path / "out", texts=texts, settings=("calibration.batches=1",))


def test_so_many_texts_as_the_recipe_says_by_the_seed(tmp_path, tuned):
    few = {"settings": ("reconstruction=null", "calibration.batches=1"), "progress": False}
    words = np.random.default_rng(0).choice(["film", "good", "bad", "gripping", "dull", "the"], (300, 6))
    texts = [" ".join(text) for text in words]
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        report = bitbert.calibrate_only(tuned, tmp_path / name, texts=texts, seed=seed, **few)
        assert report["calibrated_on"] == 32
        assert report["reconstruction"] is None
    assert weights(tmp_path / "one") == weights(tmp_path / "again")
    assert weights(tmp_path / "one") != weights(tmp_path / "other")


# ---- every kind of model ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "architecture",
    ["BertModel", "BertForSequenceClassification", "BertForTokenClassification", "BertForQuestionAnswering"],
)
@pytest.mark.parametrize("texts", [TEXTS, [(text, "a good film") for text in TEXTS]], ids=["texts", "pairs"])
def test_a_model_with_any_head_or_none(tmp_path, architecture, texts):
    films.save_model(tmp_path / "float", architecture)
    bitbert.calibrate_only(tmp_path / "float", tmp_path / "out", texts=texts, **HOW)
    model = bitbert.load(tmp_path / "out")
    if architecture == "BertModel":
        assert np.isfinite(model.encode(["a good film"])).all()
    elif architecture == "BertForSequenceClassification":
        assert model.predict(["a good film"])[0].label in ("negative", "positive")
    elif architecture == "BertForTokenClassification":
        assert len(model.tag("a good film").words) == 3
    else:
        assert isinstance(model.answer("is it good", "the film is good").text, str)


@pytest.mark.parametrize(
    ("contents", "architecture"),
    [("answering", "BertForQuestionAnswering"), ("tagging", "BertForTokenClassification")],
)
def test_questions_and_words(tmp_path, contents, architecture):
    data = questions.read(tmp_path, contents)
    names = dict(enumerate(data.task.label_names)) or {0: "LABEL_0", 1: "LABEL_1"}
    films.save_model(tmp_path / "float", architecture, id2label=names)
    report = bitbert.calibrate_only(tmp_path / "float", tmp_path / "out", task=data, max_length=32, **HOW)
    assert "f1" in report["splits"]["validation"]


def test_reconstruction_may_stand_before_stages(tmp_path, tuned, data):
    quick = ("epochs=1", "calibration.batches=2")
    for name, more in (("without", ()), ("with", ("reconstruction={steps: 5}",))):
        how = {"bits": "w4a8", "settings": (*quick, *more), "progress": False}
        report = bitbert.quantize(tuned, data, tmp_path / name, **how)
        assert report["splits"]["validation"]["accuracy"] == 100
    assert weights(tmp_path / "without") != weights(tmp_path / "with")


# ---- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "kind", "reason"),
    [
        ({"model": "gone"}, ModelError, "no model directory 'gone'"),
        ({"texts": None}, DataError, "nothing to calibrate on: give texts (--texts FILE), a task"),
        ({"texts": []}, DataError, "there are no texts to calibrate on"),
        ({"texts": None, "task": "sst9"}, DataError, "there is no task 'sst9'"),
        ({"recipe": "kdlsq", "settings": ()}, RecipeError, "recipe kdlsq has stages to train; calibration alone takes"),
        ({"settings": ("reconstruction.steps=0",)}, RecipeError, "reconstruction.steps: input should be greater than"),
        ({"settings": ("learning_rate=1.0",)}, RecipeError, "the recipe has no stages"),
        ({"bits": "w9a8"}, SpecError, "9-bit weights are not supported"),
        ({"bits": "w1a8"}, SpecError, "method 'learned_range' gives 2 to 8 bits, not 1"),
        ({"output": "."}, CheckpointError, "exists"),
    ],
)
def test_what_cannot_be_done(tmp_path, monkeypatch, tuned, changes, kind, reason):
    monkeypatch.chdir(tmp_path)
    arguments = {"model": tuned, "output": tmp_path / "out", "texts": TEXTS, **HOW}
    with pytest.raises(BitbertError) as error:
        bitbert.calibrate_only(**arguments | changes)
    assert type(error.value) is kind
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_data_without_a_train_split_are_no_texts(tmp_path, tuned, data):
    with pytest.raises(DataError, match="no split 'train'; there are test"):
        bitbert.calibrate_only(tuned, tmp_path / "out", task=TaskData(data.task, {"test": data.split("test")}), **HOW)


def test_a_model_for_something_else(tmp_path, encoder, data):
    with pytest.raises(ModelError, match="has no classification head"):
        bitbert.calibrate_only(encoder, tmp_path / "out", task=data, **HOW)
    films.save_model(tmp_path / "masked", "BertForMaskedLM")
    with pytest.raises(ModelError, match="architecture BertForMaskedLM is not supported, expected one of: BertModel"):
        bitbert.calibrate_only(tmp_path / "masked", tmp_path / "out", texts=TEXTS, **HOW)
