"""Rows of questions and of tagged words: what is read, what is held out, and each thing that can be wrong with one."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bitbert.errors import DataError
from bitbert.training.data import load_task
from bitbert.training.tasks import TASKS
from support.questions import questions, tagged, write_jsonl

GOOD = {"question": "who", "context": "a film", "answers": {"text": ["film", "a"], "answer_start": [2, 0]}}
WORDS = {"words": ["a", "film"], "tags": ["O", "B-film"]}


@pytest.fixture
def problem(tmp_path):
    """The one line that is said about a second row after a good one."""

    def problem(contents, **changes):
        good = GOOD if contents == "answering" else WORDS
        with pytest.raises(DataError) as error:
            load_task(train_file=write_jsonl(tmp_path / "t.jsonl", [good, good | changes]), contents=contents)
        assert "\n" not in str(error.value)
        return str(error.value)

    return problem


def test_questions_keep_their_places(tmp_path):
    data = load_task(test_file=write_jsonl(tmp_path / "t.jsonl", [GOOD]), contents="answering")
    assert (data.task.name, data.task.kind, data.task.num_labels, data.task.main_metric) == ("t", "answering", 2, "f1")
    row = {"question": "who", "context": "a film", "answers": ["film", "a"], "starts": [2, 0]}
    assert data.split("test")[:] == {name: [value] for name, value in row.items()}


def test_words_and_their_tags_by_name_and_by_number(tmp_path):
    rows = [WORDS, {"words": ["x", "y"], "tags": ["B-film", "I-film"]}]
    data = load_task(test_file=write_jsonl(tmp_path / "t.jsonl", rows), contents="tagging")
    assert data.task.label_names == ("B-film", "I-film", "O")
    assert data.split("test")["tags"][:] == [[2, 0], [0, 1]]
    numbers = [{"words": ["a", "film"], "tags": [0, 1]}]
    names = {"O": 0, "B-film": 1}
    data = load_task(test_file=write_jsonl(tmp_path / "n.jsonl", numbers), contents="tagging", label2id=names)
    assert (data.task.label_names, data.split("test")["tags"][:]) == (("O", "B-film"), [[0, 1]])


def test_tags_follow_a_model_that_orders_them_otherwise(tmp_path):
    (tmp_path / "wnut17").mkdir()
    pq.write_table(pa.table({"tokens": [["a"]], "ner_tags": [[9]]}), tmp_path / "wnut17" / "test.parquet")
    names = TASKS["wnut17"].label_names
    assert names[9] == "B-person"
    given = {name: i for i, name in enumerate(reversed(names))}
    data = load_task("wnut17", data_dir=tmp_path, label2id=given)
    assert data.task.label_names == names[::-1]
    assert data.split("test")["tags"][0] == [given["B-person"]]


def test_held_out_questions_have_contexts_of_their_own(tmp_path):
    rows = [
        question | {"question": f"{word} ?"} for question in questions(60) for word in ("who", "what", "which", "how")
    ]
    data = load_task(train_file=write_jsonl(tmp_path / "t.jsonl", rows), contents="answering", validation_split=0.3)
    train, held = (set(data.split(name)["context"]) for name in ("train", "validation"))
    assert held
    assert train
    assert not held & train


def test_held_out_words_and_a_part_of_the_rest(tmp_path):
    file = write_jsonl(tmp_path / "t.jsonl", tagged(50))
    data = load_task(train_file=file, contents="tagging", max_train=20)
    assert {name: len(rows) for name, rows in data.splits.items()} == {"train": 20, "validation": 5}


def test_the_tasks_have_their_rows(data_dir):
    squad = load_task("squad", data_dir=data_dir, max_train=10_000)
    assert {name: len(rows) for name, rows in squad.splits.items()} == {"train": 10_000, "validation": 10_570}
    wnut = load_task("wnut17", data_dir=data_dir)
    assert {name: len(rows) for name, rows in wnut.splits.items()} == {"train": 3394, "validation": 1009, "test": 1287}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"context": " "}, "row 2 has an empty context"),
        ({"context": None}, "row 2 has an empty context"),
        ({"question": ""}, "row 2 has an empty question"),
        ({"question": 3}, "row 2: the question 3 is no text"),
        ({"answers": None}, "row 2 has an empty label (column 'answers')"),
        ({"answers": "film"}, 'row 2: answers must be {"text": [...], "answer_start": [...]}'),
        ({"answers": {"text": ["film"], "answer_start": []}}, "two lists of one length"),
        ({"answers": {"text": [], "answer_start": []}}, "row 2 has no answer"),
        ({"answers": {"text": [""], "answer_start": [0]}}, "row 2 has an empty answer"),
        (
            {"answers": {"text": ["film"], "answer_start": [1]}},
            "row 2: the answer 'film' is not at 1 of its context: it stands at 2",
        ),
        (
            {"answers": {"text": ["film"], "answer_start": [-4]}},
            "the answer 'film' is not at -4 of its context: it stands at 2",
        ),
        (
            {"answers": {"text": ["book"], "answer_start": [2]}},
            "the answer 'book' is not at 2 of its context: it stands nowhere in it",
        ),
    ],
)
def test_what_is_wrong_with_a_question(problem, changes, reason):
    assert reason in problem("answering", **changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tags": ["O"]}, "row 2 has 2 words, but 1 tags"),
        ({"words": [], "tags": []}, "row 2 has no words"),
        ({"words": "a film"}, "row 2: words and tags must be lists, not 'a film' (CSV cannot hold them"),
        ({"tags": "O O"}, "words and tags must be lists, not 'O O'"),
        ({"words": ["a", None]}, "row 2: words must be texts"),
        ({"tags": ["O", "PER"]}, "tag 'PER' is not of the IOB2 scheme, expected O, B-kind or I-kind"),
        ({"tags": ["O", "B-"]}, "tag 'B-' is not of the IOB2 scheme"),
    ],
)
def test_what_is_wrong_with_words(problem, changes, reason):
    assert reason in problem("tagging", **changes)


def test_a_tag_that_train_does_not_have(tmp_path):
    files = {
        "train_file": write_jsonl(tmp_path / "t.jsonl", [WORDS]),
        "validation_file": write_jsonl(tmp_path / "v.jsonl", [WORDS | {"tags": ["O", "B-book"]}]),
    }
    with pytest.raises(DataError, match=r"v\.jsonl: row 1: unknown tag 'B-book'; t\.jsonl has B-film, O"):
        load_task(**files, contents="tagging")


def test_a_table_cannot_hold_them(tmp_path):
    (tmp_path / "t.csv").write_text("question,context,answers\nwho,a film,film\n")
    with pytest.raises(DataError, match="CSV cannot hold them: use JSONL or Parquet"):
        load_task(train_file=tmp_path / "t.csv", contents="answering")


def test_columns_have_fixed_names(tmp_path):
    file = write_jsonl(tmp_path / "t.jsonl", [GOOD])
    with pytest.raises(DataError, match="have fixed names"):
        load_task(train_file=file, contents="answering", text_columns=("q", "c"))
    (tmp_path / "o.jsonl").write_text(json.dumps({"question": "who", "text": "a film"}) + "\n")
    with pytest.raises(DataError, match="no column 'context'; there are 'question', 'text'"):
        load_task(train_file=tmp_path / "o.jsonl", contents="answering")
