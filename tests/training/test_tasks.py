"""Tasks: GLUE's scores against values worked out by hand, and answers that no metric may trip over."""

import numpy as np
import pytest

from bitbert.errors import DataError
from bitbert.training.tasks import GLUE, TASKS, Task, find_task


def test_accuracy_takes_the_largest_logit():
    logits = [[2.0, 1.0], [0.0, 3.0], [1.0, 4.0], [0.5, 0.4]]
    assert GLUE["sst2"].compute(logits, [0, 1, 0, 0]) == {"accuracy": 75.0}


def test_class_ids_are_accepted_in_place_of_logits():
    assert GLUE["sst2"].compute([0, 1, 1, 0], [0, 1, 0, 0]) == {"accuracy": 75.0}


def test_mcc_of_a_known_table():
    # 3 true positives, 1 true negative, 1 false positive, 1 false negative: (3*1 - 1*1) / sqrt(4 * 4 * 2 * 2) = 1/4
    scores = GLUE["cola"].compute([1, 1, 1, 0, 1, 0], [1, 1, 1, 0, 0, 1])
    assert scores == {"mcc": pytest.approx(25.0)}


def test_f1_counts_the_class_called_equivalent():
    # 2 true positives, 1 false positive, 1 false negative: F1 2/3; 5 of 7 right
    scores = GLUE["mrpc"].compute([1, 1, 1, 0, 0, 0, 0], [1, 1, 0, 1, 0, 0, 0])
    assert scores["f1"] == pytest.approx(200 / 3)
    assert scores["accuracy"] == pytest.approx(500 / 7)
    assert scores["mean"] == pytest.approx((200 / 3 + 500 / 7) / 2)
    assert GLUE["mrpc"].main_metric == "mean"


def test_correlations_of_a_monotone_but_curved_answer():
    labels = np.arange(6.0)
    scores = GLUE["stsb"].compute((labels**3)[:, None], labels)
    assert scores["spearman"] == pytest.approx(100.0)
    assert scores["pearson"] == pytest.approx(100 * np.corrcoef(labels**3, labels)[0, 1])
    assert scores["pearson"] < 95


@pytest.mark.parametrize("bad", [3.0, np.nan, np.inf])
def test_a_correlation_that_is_undefined_counts_as_zero(bad):
    assert GLUE["stsb"].compute([bad] * 4, [1.0, 2.0, 3.0, 4.0]) == {"pearson": 0.0, "spearman": 0.0, "mean": 0.0}


def test_entities_count_whole_with_kind_and_both_ends():
    task = TASKS["wnut17"]
    expected = [["B-person", "I-person", "O", "B-group"], ["B-person", "I-person"], ["O"]]
    predicted = [["B-person", "O", "O", "B-group"], ["B-person", "I-person"], ["B-product"]]
    # of 3 entities 2 are found whole, among 4 that are claimed
    scores = task.compute(predicted, expected)
    assert scores == pytest.approx({"f1": 100 * 2 * 0.5 * (2 / 3) / (0.5 + 2 / 3), "precision": 50, "recall": 200 / 3})
    assert task.main_metric == "f1"


def test_no_entity_found_is_no_point_and_no_warning():
    scores = TASKS["wnut17"].compute([["O", "O"]], [["B-person", "O"]])
    assert scores == {"f1": 0.0, "precision": 0.0, "recall": 0.0}


def test_answers_are_scored_as_texts():
    task = TASKS["squad"]
    assert task.compute(["The cat", "a dog barks"], [["cat"], ["dog"]])["exact_match"] == 50
    assert (task.main_metric, task.num_labels, TASKS["wnut17"].num_labels) == ("f1", 2, 13)


@pytest.mark.parametrize("name", GLUE)
def test_a_perfect_answer_has_100_points_in_every_metric(name):
    task = GLUE[name]
    labels = np.array([0.0, 2.5, 5.0]) if task.is_regression else np.arange(6) % task.num_labels
    scores = task.compute(labels, labels)
    assert list(scores.values()) == pytest.approx([100.0] * len(scores))
    assert task.main_metric in scores


def test_a_regression_has_one_output():
    assert (GLUE["stsb"].num_labels, GLUE["mnli"].num_labels) == (1, 3)


def test_outputs_and_labels_must_be_of_one_length():
    with pytest.raises(ValueError, match="3 outputs for 2 labels"):
        Task("t", "classification", ("text",)).compute([0, 1, 1], [0, 1])


def test_an_unknown_task_lists_those_there_are():
    with pytest.raises(DataError, match=r"no task 'sst': use one of sst2, cola, mrpc, .*--train-file"):
        find_task("sst")
