"""Data augmentation: new texts from old ones by the checkpoint's own words, seeded and cached."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file

from bitbert.errors import DataError, ModelError
from bitbert.training import augment
from bitbert.training.augment import COPIES, augmented, default_copies, exchanged
from bitbert.training.candidates import Slot, WholeWords, from_predictions, neighbours
from bitbert.training.models import load_masked_lm, load_tokenizer
from bitbert.training.tasks import TASKS, Task
from support import films
from support.tiny_tokenizer import WORDS

pytestmark = pytest.mark.usefixtures("one_thread")

TASK = Task("films", "classification", ("text",), label_names=("negative", "positive"))
REPLACEABLE = {"film", "good", "bad", "gripping", "dull"}  # of the tiny vocabulary: no stop word, two letters or more
TEXTS = ["the film is good", "A Dull film!", "is it not ?", "films"]


def dataset(*columns, labels=(1, 0, 1, 1)):
    names = ("text", "text_pair")[: len(columns)]
    return Dataset.from_dict({**dict(zip(names, columns, strict=True)), "label": list(labels)})


@pytest.fixture
def make(classifier, tmp_path):
    """Calls `augmented` on four texts."""

    def make(data=None, **changes):
        how = {"copies": 8, "probability": 0.5, "candidates": 2, "seed": 3, "cache": tmp_path / "cache"} | changes
        data = dataset(TEXTS) if data is None else data
        return augmented(data, how.pop("task", TASK), how.pop("model", classifier), **how)

    return make


def words_of(text):
    return text.lower().replace("!", " !").split()


# ---- which texts there are -------------------------------------------------------------------------------------------


def test_words_are_exchanged_and_nothing_else(make):
    new = make()
    assert new.features == dataset(TEXTS).features
    sources = {"good": TEXTS[0], "!": TEXTS[1]}
    assert {text[0] for text in new["text"]} == {"t", "A"}  # nothing fits in the others
    for text, label in zip(new["text"], new["label"], strict=True):
        source = sources["!" if text.endswith("!") else "good"]
        assert label == (0 if source is TEXTS[1] else 1)
        changed = [(a, b) for a, b in zip(words_of(source), words_of(text), strict=True) if a != b]
        assert changed
        assert all(a in REPLACEABLE and b in REPLACEABLE for a, b in changed)
        assert text[0].isupper() == source[0].isupper()


def test_capitals_stay(make):
    new = make(dataset(["Dull FILM"], labels=[0]), probability=1.0)
    assert len(new) > 0
    for first, second in (text.split() for text in new["text"]):
        assert first[0].isupper()
        assert first[1:].islower()
        assert second.isupper()


def test_nothing_comes_twice_or_unchanged(make):
    new = make(copies=100)["text"]
    assert len(set(new)) == len(new)
    assert not set(new) & set(TEXTS)
    assert len(make(copies=3)) <= 3 * len(TEXTS)


def test_one_text_of_a_pair_changes_at_a_time_by_turns(make):
    first, second = ["the film is good"] * 2, ["a dull film", "not a bad film"]
    new = make(dataset(first, second, labels=[0, 1]), copies=20, probability=1.0)
    assert set(new["label"]) == {0, 1}
    sources = [(first[label], second[label]) for label in new["label"]]
    pairs = zip(new["text"], new["text_pair"], strict=True)
    kept = [(a == x, b == y) for (a, b), (x, y) in zip(pairs, sources, strict=True)]
    assert set(kept) == {(True, False), (False, True)}


def test_the_probability_is_that_of_each_word():
    slots = [Slot(2 * i, 2 * i + 1, ("x", "y")) for i in range(2000)]
    text = exchanged("a " * 2000, slots, 0.4, np.random.default_rng(0))
    # three standard deviations of a binomial share: 3 sqrt(0.4 * 0.6 / 2000) = 0.033
    assert 1 - text.count("a") / 2000 == pytest.approx(0.4, abs=0.033)
    assert text.count("x") / (text.count("x") + text.count("y")) == pytest.approx(0.5, abs=0.054)


def test_copies_are_those_of_tinybert():
    assert {name: default_copies(TASKS[name]) for name in COPIES} == COPIES
    assert default_copies(TASK) == 20


# ---- candidates ------------------------------------------------------------------------------------------------------


def test_neighbours_are_the_nearest_by_cosine(classifier, tmp_path, monkeypatch):
    words = WholeWords(load_tokenizer(classifier))
    assert set(words.words) == REPLACEABLE
    table = torch.randn(101, 16, generator=torch.Generator().manual_seed(0))
    table[words.ids[0]] *= 100  # length plays no part
    expected = torch.nn.functional.cosine_similarity(table[words.ids][:, None], table[words.ids][None], dim=-1)
    expected.fill_diagonal_(-1)
    for block in (2, 1024):
        monkeypatch.setattr("bitbert.training.candidates.BLOCK", block)
        near = neighbours(table, words, 3, tmp_path / str(block) / "n.safetensors")
        assert near.tolist() == expected.topk(3).indices.tolist()
    assert neighbours(table, words, 15, tmp_path / "all" / "n.safetensors").shape == (5, 4)


def test_words_with_a_capital_have_neighbours_with_one(tmp_path):
    vocabulary = {"paris": 0, "Paris": 1, "london": 2, "London": 3, "rome": 4}
    tokenizer = SimpleNamespace(get_vocab=lambda: vocabulary, backend_tokenizer=SimpleNamespace(normalizer=None))
    words = WholeWords(tokenizer)
    near = neighbours(torch.randn(5, 8), words, 1, tmp_path / "n" / "n.safetensors")
    assert near[1].item() == 3
    assert near[3].item() == 1
    assert near[0].item() in (2, 4)


def test_neighbours_are_kept(classifier, tmp_path):
    words, file = WholeWords(load_tokenizer(classifier)), tmp_path / "n" / "n.safetensors"
    near = neighbours(torch.randn(101, 16), words, 2, file)
    save_file({"neighbours": near.flip(1).contiguous()}, file)
    assert torch.equal(neighbours(torch.randn(101, 16), words, 2, file), load_file(file)["neighbours"])


def test_a_masked_language_model_predicts_in_context(make, tmp_path):
    films.save_model(tmp_path / "mlm", "BertForMaskedLM")
    add_mask_token(tmp_path / "mlm")
    model, tokenizer = load_masked_lm(tmp_path / "mlm"), load_tokenizer(tmp_path / "mlm")
    words = WholeWords(tokenizer)
    found = dict(zip(TEXTS, from_predictions(TEXTS, words, model, tokenizer, 2), strict=True))
    (film, good) = found[TEXTS[0]]
    assert (film.start, film.end, good.start, good.end) == (4, 8, 12, 16)
    assert found[TEXTS[2]] == []
    inputs = tokenizer(TEXTS[0], "the film is [MASK]", return_tensors="pt")
    with torch.no_grad():
        logits = model(**inputs).logits[0, -2]
    ranked = sorted(REPLACEABLE - {"good"}, key=lambda word: -logits[tokenizer.get_vocab()[word]])
    assert good.words == tuple(ranked[:2])
    new = make(model=tmp_path / "mlm")
    assert {words_of(text)[-1] for text in new["text"] if text.startswith("the")} <= {"good", *good.words}


def add_mask_token(path):
    """Take a token that no text has for the mask."""
    config = json.loads((path / "tokenizer_config.json").read_text())
    (path / "tokenizer_config.json").write_text(json.dumps(config | {"mask_token": "[MASK]"}))


# ---- the cache -------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_texts(make, tmp_path):
    one, again, other = make(), make(cache=tmp_path / "elsewhere"), make(seed=4)
    assert one["text"][:] == again["text"][:]
    assert one["text"][:] != other["text"][:]


def test_rows_do_not_depend_on_those_after_them(make):
    few = make(dataset(TEXTS[:1], labels=[1]))["text"][:]
    assert make()["text"][: len(few)] == few


def test_the_second_time_nothing_is_computed(make, monkeypatch):
    first = make()
    monkeypatch.setattr(augment, "_slots", None)
    again = make()
    assert again["text"][:] == first["text"][:]
    assert again.features == first.features
    others = {"seed": 4, "probability": 0.6, "candidates": 3, "copies": 9, "data": dataset(TEXTS, labels=[0] * 4)}
    for name, value in others.items():
        with pytest.raises(TypeError):
            make(**{name: value})


def test_another_checkpoint_is_not_mistaken_for_this_one(make, tmp_path, monkeypatch):
    films.save_model(tmp_path / "other", hidden_act="relu")
    make()
    monkeypatch.setattr(augment, "_slots", None)
    with pytest.raises(TypeError):
        make(model=tmp_path / "other")


@pytest.mark.parametrize("harm", ["cut", "settings", "gone"])
def test_what_is_damaged_is_made_again(make, tmp_path, harm):
    first = make()["text"][:]
    (place,) = (tmp_path / "cache").glob("augmented-*")
    if harm == "cut":
        (place / "texts.parquet").write_bytes((place / "texts.parquet").read_bytes()[:-9])
    elif harm == "settings":
        (place / "settings.json").write_text("{")
    else:
        (place / "texts.parquet").unlink()
    assert make()["text"][:] == first
    assert {path.name for path in place.iterdir()} == {"texts.parquet", "settings.json"}


def test_a_run_that_is_stopped_leaves_nothing(make, tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(augment, "exchanged", stop)
    with pytest.raises(KeyboardInterrupt):
        make()
    assert not list((tmp_path / "cache").glob("augmented-*"))
    assert not list((tmp_path / "cache").glob(".*"))


def test_many_rows_are_written_in_parts(make, monkeypatch, tmp_path):
    whole = make()["text"][:]
    monkeypatch.setattr(augment, "ROWS_AT_ONCE", 1)
    assert make(cache=tmp_path / "parts")["text"][:] == whole


def test_a_bar_is_shown_where_there_is_a_title(make, capfd):
    make(title="augment")
    assert "4/4 texts" in capfd.readouterr().err


# ---- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["squad", "wnut17"])
def test_tasks_without_plain_texts(make, name):
    with pytest.raises(DataError, match=f"{name}: .* cannot be augmented, only the texts of classification"):
        make(task=TASKS[name])


def test_a_checkpoint_that_is_not_here(make):
    with pytest.raises(ModelError, match="no model directory 'gone': augmentation needs the checkpoint"):
        make(model="gone")


def test_the_tiny_vocabulary_is_what_the_tests_take_it_for():
    assert set(WORDS) >= REPLACEABLE
