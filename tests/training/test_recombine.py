"""New pairs: real texts, in their own columns, mostly near to each other, each once."""

import pytest
from datasets import Dataset, Features, Value

from bitbert.training import recombine
from bitbert.training.recombine import recombined

ANIMALS, DRINKS = ("cat", "dog", "horse", "hen"), ("tea", "milk", "beer", "wine")
FIRST = [f"a {word} {more}" for word in ANIMALS + DRINKS for more in ("is here", "was there", "again")]
SECOND = [f"one {word} , {more}" for word in ANIMALS + DRINKS for more in ("yes", "no", "perhaps")]
FEATURES = Features({"label": Value("int64"), "text": Value("string"), "text_pair": Value("string")})
PAIRS = Dataset.from_dict({"label": list(range(24)), "text": FIRST, "text_pair": SECOND}, features=FEATURES)


def pairs(data):
    return list(zip(data["text"], data["text_pair"], strict=True))


def test_texts_are_real_and_keep_their_column():
    new = recombined(PAIRS, copies=6, seed=1)
    assert new.features == PAIRS.features
    assert set(new["text"]) <= set(FIRST)
    assert set(new["text_pair"]) <= set(SECOND)
    for row in new:  # one text of each is that of the row which the label is from
        assert row["text"] == FIRST[row["label"]] or row["text_pair"] == SECOND[row["label"]]


def test_none_is_there_twice_or_was_there_before():
    new = pairs(recombined(PAIRS, copies=40, seed=1))
    assert len(set(new)) == len(new) <= 40 * len(PAIRS)
    assert not set(new) & set(pairs(PAIRS))


def test_most_have_much_in_common_and_some_nothing(monkeypatch):
    monkeypatch.setattr(recombine, "NEAR", 3)
    new = pairs(recombined(PAIRS, copies=4, seed=1))
    alike = sum(first.split()[1] == second.split()[1] for first, second in new) / len(new)
    assert 0.5 < alike < 0.9  # three of eight that are near are the row's own kind; by chance it would be an eighth


def test_the_seed_decides():
    assert pairs(recombined(PAIRS, copies=4, seed=1)) == pairs(recombined(PAIRS, copies=4, seed=1))
    assert pairs(recombined(PAIRS, copies=4, seed=1)) != pairs(recombined(PAIRS, copies=4, seed=2))


def test_large_data_are_searched_in_part(monkeypatch):
    monkeypatch.setattr(recombine, "POOL", 5)
    monkeypatch.setattr(recombine, "ROWS_AT_ONCE", 7)
    new = recombined(PAIRS, copies=8, seed=1)
    drawn = {row["text_pair"] for row in new if row["text"] == FIRST[row["label"]]}
    kept = {row["text_pair"] for row in new if row["text"] != FIRST[row["label"]]}
    assert len(drawn) == 5
    assert len(kept) > 20


@pytest.mark.parametrize("texts", [["same"] * 3, ["", "", ""], ["?!", "...", "-"]])
def test_poor_texts(texts):
    data = Dataset.from_dict({"text": texts, "text_pair": texts})
    assert set(pairs(recombined(data, copies=4))).isdisjoint(pairs(data))


def test_what_is_not_a_pair_has_none():
    single = PAIRS.remove_columns("text_pair")
    new = recombined(single, copies=4)
    assert len(new) == 0
    assert new.features == single.features
