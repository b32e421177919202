"""Questions and tagged words from a file to an answer: fine-tuned, packed, scored through the engine, and asked."""

import json

import pytest

import bitbert
from bitbert.errors import BitbertError, DataError, ModelError
from bitbert.training import pipeline
from bitbert.training.checkpoints import Checkpoints
from bitbert.training.evaluate import agreement, evaluate, packed_run, torch_run
from bitbert.training.models import load_finetuned, load_tokenizer
from bitbert.training.tasks import Task
from support import films, questions

pytest.importorskip("bitbert._native", reason="the native engine is not built")
pytestmark = pytest.mark.usefixtures("one_thread")

LEARN = {"epochs": 12, "learning_rate": 3e-3, "batch_size": 16, "max_length": 32, "progress": False}
QUICK = ("epochs=2", "calibration.batches=2", "batch_size=16")
METRICS = {"answering": {"f1", "exact_match"}, "tagging": {"f1", "precision", "recall"}}


@pytest.fixture(scope="module", params=["answering", "tagging"])
def learned(request, tmp_path_factory, encoder):
    """(kind, data, float checkpoint, its report, packed directory, its report)."""
    directory = tmp_path_factory.mktemp(request.param)
    data = questions.read(directory, request.param)
    tuned, packed = directory / "float", directory / "packed"
    first = bitbert.finetune(encoder, data, tuned, **LEARN)
    how = {"settings": QUICK, "progress": False, "max_length": 32}
    second = bitbert.quantize(tuned, data, packed, bits="w4a8", **how)
    return request.param, data, tuned, first, packed, second


def test_it_is_learned_and_scored_through_the_engine(learned):
    kind, data, tuned, first, packed, second = learned
    assert first["rows"] == second["rows"] == 96  # rows of the file, not windows
    scores = second["splits"]["validation"]
    assert set(scores) == METRICS[kind] | {"texts", "ms_per_text", "trained", "float32"}
    assert scores["f1"] > 90
    assert scores["float32"]["f1"] > 90
    assert scores["trained"]["agreement"] > 95
    assert scores["texts"] == 24
    again = evaluate(packed, data)["validation"]
    assert {name: again[name] for name in METRICS[kind]} == {name: scores[name] for name in METRICS[kind]}
    again = evaluate(tuned, data)["validation"]
    assert {name: again[name] for name in METRICS[kind]} == {name: scores["float32"][name] for name in METRICS[kind]}


def test_the_directory_answers(learned):
    kind, *_, packed, _ = learned
    model = bitbert.load(packed)
    card = (packed / "README.md").read_text()
    if kind == "answering":
        answer = model.answer("is it good", "the film is gripping .")
        assert (answer.text, answer.start, answer.end) == ("gripping", 12, 20)
        assert answer.score > 0.5
        assert "question-answering" in card
        assert "model.answer(" in card
    else:
        tagged = model.tag("the film xyz is gripping!")
        assert [word.label for word in tagged.words] == ["O", "B-film", "O", "O", "B-mood", "O"]
        assert [(e.text, e.label) for e in tagged.entities] == [("film", "film"), ("gripping", "mood")]
        assert "token-classification" in card
        assert "model.tag(" in card


def test_short_windows_change_who_sees_what_and_nothing_else(learned):
    """Torch and the engine cut alike, so they agree window by window."""
    _, data, tuned, _, packed, _ = learned
    split = data.split("validation")
    engine = packed_run(bitbert.load(packed, max_length=16), data.task)(split)
    stock = torch_run(load_finetuned(tuned, data.task), load_tokenizer(tuned), data.task, max_length=16)(split)
    assert len(engine) == len(stock) == 24
    assert agreement(engine, stock) > 80


def test_agreement_counts_questions_and_words():
    assert agreement(["a", "b", "c", "d"], ["a", "b", "c", "e"]) == 75
    assert agreement([["O"], ["O", "B-x", "O"]], [["O"], ["O", "O", "O"]]) == 75


def test_the_same_seed_gives_the_same_bits(learned, tmp_path):
    _, data, tuned, _, packed, _ = learned
    how = {"settings": QUICK, "progress": False, "max_length": 32}
    bitbert.quantize(tuned, data, tmp_path / "again", bits="w4a8", **how)
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (packed / "model.safetensors").read_bytes()


def test_a_run_that_is_cut_off_goes_on_to_the_same_bits(learned, tmp_path, monkeypatch):
    _, data, tuned, _, packed, _ = learned
    how = {"bits": "w4a8", "settings": QUICK, "progress": False, "max_length": 32, "checkpoint_seconds": 0}
    log = Checkpoints.on_step_end

    def stop(self, args, state, control, **kwargs):
        if state.global_step == 8:
            raise KeyboardInterrupt
        log(self, args, state, control, **kwargs)

    monkeypatch.setattr(Checkpoints, "on_step_end", stop)
    with pytest.raises(KeyboardInterrupt):
        bitbert.quantize(tuned, data, tmp_path / "out", **how)
    monkeypatch.undo()
    assert list(tmp_path.glob("out.work/*/checkpoint-*"))
    bitbert.quantize(tuned, data, tmp_path / "out", resume=True, **how)
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (packed / "model.safetensors").read_bytes()


# ---- mistakes --------------------------------------------------------------------------------------------------------


def test_a_task_of_the_wrong_kind_for_the_head(learned, data, classifier, tmp_path, monkeypatch):
    kind, own, tuned, _, packed, _ = learned
    monkeypatch.setattr(pipeline, "Progression", None)
    with pytest.raises(ModelError, match="which has no classification head: fine-tune it first"):
        bitbert.quantize(tuned, data, tmp_path / "out")
    head = {"answering": "head for questions", "tagging": "head for words"}[kind]
    with pytest.raises(ModelError, match=f"is a BertForSequenceClassification, which has no {head}"):
        bitbert.quantize(classifier, own, tmp_path / "out")
    with pytest.raises(ModelError, match="does not classify texts"):
        evaluate(packed, data)
    assert list(tmp_path.iterdir()) == []


def test_a_packed_model_with_other_tags(learned, tmp_path):
    kind, own, *_, packed, _ = learned
    if kind == "tagging":
        other = Task("other", "tagging", ("words",), "tags", label_names=("O", "B-x"))
        with pytest.raises(ModelError, match="tags words as B-film, B-mood, O, but other needs O, B-x"):
            evaluate(packed, type(own)(other, own.splits))


def test_an_own_file_that_is_wrong_costs_no_training(encoder, tmp_path):
    row = {"question": "who", "context": "a film", "answers": {"text": ["book"], "answer_start": [0]}}
    (tmp_path / "t.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match="it stands nowhere in it"):
        questions.load_task(train_file=tmp_path / "t.jsonl", contents="answering")


def test_a_task_by_name_needs_data(encoder, tmp_path):
    for name in ("squad", "wnut17"):
        with pytest.raises(BitbertError, match=f"task {name}: no data; give --data-dir DIR"):
            bitbert.finetune(encoder, name, tmp_path / "out")


def test_a_random_model_is_as_good_in_torch_as_it_is(tmp_path):
    """No trained margin hides a shift between windows and labels here."""
    for kind, (architecture, labels) in {
        "answering": ("BertForQuestionAnswering", {0: "LABEL_0", 1: "LABEL_1"}),
        "tagging": ("BertForTokenClassification", {0: "B-film", 1: "B-mood", 2: "O"}),
    }.items():
        (tmp_path / kind).mkdir()
        model = films.save_model(tmp_path / kind / "model", architecture, id2label=labels, initializer_range=0.3)
        data = questions.read(tmp_path / kind, kind)
        how = {"settings": ("epochs=0.1", "calibration.batches=4"), "progress": False}
        report = bitbert.quantize(model, data, tmp_path / kind / "out", bits="w8a8", **how)
        assert report["splits"]["validation"]["trained"]["agreement"] > 85


def test_neither_can_be_augmented_which_is_said_before_any_training(learned, tmp_path, monkeypatch):
    kind, data, tuned, *_ = learned
    monkeypatch.setattr(pipeline, "Progression", None)
    settings = (*QUICK, "copies=2", "losses.labels=0")
    with pytest.raises(DataError, match=f"{kind} cannot be augmented"):
        bitbert.quantize(tuned, data, tmp_path / "out", bits="w4a8", settings=settings, progress=False)
    assert not list(tmp_path.iterdir())
