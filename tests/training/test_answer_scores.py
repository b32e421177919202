"""Exact match and F1 of answers against values worked out by hand."""

import pytest

from bitbert.training.answer_scores import answer_scores, normalized, overlap


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat's  hat", "cats hat"),
        ("a an the", ""),
        ("An apple, the APPLE; theatre", "apple apple theatre"),
        ("U.S.", "us"),
        ("1,000–2,000", "1000–2000"),  # only ASCII marks are taken out
        ("the-end", "theend"),  # marks go before articles
    ],
)
def test_normalization(text, expected):
    assert normalized(text) == expected


def test_overlap_counts_each_word_as_often_as_both_have_it():
    assert overlap(["a", "b", "b"], ["b", "b", "c", "d"]) == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))
    assert overlap(["a"], ["b"]) == overlap([], []) == overlap(["a"], []) == 0


def test_the_best_fitting_answer_counts():
    scores = answer_scores(
        ["The Denver Broncos", "Santa Clara, California", "gold"],
        [["Denver Broncos", "Broncos"], ["Levi's Stadium", "Santa Clara"], ["silver"]],
    )
    assert scores == {"f1": pytest.approx(100 * (1 + 0.8 + 0) / 3), "exact_match": pytest.approx(100 / 3)}


def test_an_answer_of_nothing_but_an_article():
    assert answer_scores(["the"], [["a"]]) == {"f1": 0.0, "exact_match": 100.0}  # as the official script has it
    assert answer_scores(["the"], [["cat"]]) == {"f1": 0.0, "exact_match": 0.0}


def test_as_many_answers_as_questions():
    with pytest.raises(ValueError, match="argument 2 is longer"):
        answer_scores(["a"], [["a"], ["b"]])
