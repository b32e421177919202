"""Data: what is read stays what it was, parts are reproducible, and each thing wrong with a file has its own line."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitbert.errors import DataError
from bitbert.training.data import load_task, stratified

ROWS = [("good film", "pos"), ("bad film", "neg"), ("fine", "pos"), ("awful", "neg")]


def write_csv(path, rows, header="text,label"):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


@pytest.fixture
def train(tmp_path):
    return write_csv(tmp_path / "train.csv", ROWS)


# ---- GLUE ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sizes", "pair"),
    [
        ("sst2", {"train": 67349, "validation": 872, "test": 1821}, False),
        ("cola", {"train": 8551, "validation": 1043}, False),
        ("mrpc", {"train": 3668, "validation": 408, "test": 1725}, True),
        ("stsb", {"train": 5749, "validation": 1500, "test": 1379}, True),
        ("qnli", {"train": 10475, "validation": 5463}, True),
    ],
)
def test_glue_tasks_have_their_rows(data_dir, name, sizes, pair):
    data = load_task(name, data_dir=data_dir)
    assert {split: len(rows) for split, rows in data.splits.items()} == sizes
    assert set(data.split("validation").column_names) == {"text", "label"} | ({"text_pair"} if pair else set())
    labels = np.asarray(data.split("validation")["label"][:])
    assert labels.dtype == (np.float64 if data.task.is_regression else np.int64)


def test_the_part_of_sst2_is_one_set_of_sentences(data_dir):
    part = load_task("sst2", data_dir=data_dir, max_train=16000).split("train")
    everything = load_task("sst2", data_dir=data_dir).split("train")
    order = np.random.default_rng(0).permutation(67349)
    assert order[:4].tolist() == [39409, 38944, 53526, 30712]  # pins numpy's generator, hence published results
    assert part["text"][:3] == [everything["text"][int(i)] for i in order[:3]]
    assert (len(part), len(set(order[:16000].tolist()))) == (16000, 16000)


def test_labels_follow_a_model_that_orders_them_otherwise(tmp_path):
    glue_directory(tmp_path, "sst2", sentence=["a", "b"], label=[0, 1])
    data = load_task("sst2", data_dir=tmp_path, label2id={"POSITIVE": 0, "NEGATIVE": 1})
    assert data.task.label_names == ("positive", "negative")
    assert data.split("train")["label"][:] == [1, 0]


def test_a_model_for_another_task_is_refused(tmp_path):
    glue_directory(tmp_path, "sst2", sentence=["a", "b"], label=[0, 1])
    with pytest.raises(DataError, match="sst2 has the labels negative, positive, but the model has world, sports"):
        load_task("sst2", data_dir=tmp_path, label2id={"world": 0, "sports": 1})


def test_a_test_split_without_labels_is_left_out(tmp_path):
    glue_directory(tmp_path, "sst2", sentence=["a", "b"], label=[0, 1])
    glue_directory(tmp_path, "sst2", "test", sentence=["c", "d"], label=[-1, -1])
    assert list(load_task("sst2", data_dir=tmp_path).splits) == ["train"]


def glue_directory(path, task, split="train", **columns):
    (path / task).mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path / task / f"{split}.parquet")


# ---- own files -------------------------------------------------------------------------------------------------------


def test_three_formats_give_the_same_rows(tmp_path, train):
    jsonl = tmp_path / "train.jsonl"
    jsonl.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in ROWS))
    parquet = tmp_path / "train.parquet"
    pq.write_table(pa.table({"text": [r[0] for r in ROWS], "label": [r[1] for r in ROWS]}), parquet)
    read = [load_task(train_file=f, validation_file=f) for f in (train, jsonl, parquet)]
    for data in read:
        assert data.task.label_names == ("neg", "pos")
        assert data.split("train").to_dict() == {"text": [r[0] for r in ROWS], "label": [1, 0, 1, 0]}


def test_texts_that_look_like_something_else_stay_texts(tmp_path):
    texts = ["null", "NA", "007", "1e5", "", "None"]
    file = write_csv(tmp_path / "t.csv", [(text, i % 2) for i, text in enumerate(texts)])
    assert load_task(train_file=file, validation_file=file).split("train")["text"][:] == texts


def test_quotes_line_breaks_and_byte_order_mark(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text('\ufefftext,label\n"two\nlines, ""quoted""",a\nplain,b\n', encoding="utf-8")
    assert load_task(train_file=file, validation_file=file).split("train")["text"][:] == [
        'two\nlines, "quoted"',
        "plain",
    ]


def test_pairs_and_other_column_names(tmp_path):
    file = write_csv(tmp_path / "t.csv", [("a", "b", 0), ("c", "d", 1)], "premise,claim,gold")
    data = load_task(train_file=file, validation_file=file, text_columns=("premise", "claim"), label_column="gold")
    assert data.split("train").to_dict() == {"text": ["a", "c"], "text_pair": ["b", "d"], "label": [0, 1]}


def test_numbers_as_classes_are_sorted_by_value(tmp_path):
    file = write_csv(tmp_path / "t.csv", [("a", 10), ("b", 9), ("c", 2)])
    data = load_task(train_file=file, validation_file=file)
    assert data.task.label_names == ("2", "9", "10")
    assert data.split("train")["label"][:] == [2, 1, 0]


def test_a_fraction_makes_a_regression_and_can_be_overruled(tmp_path):
    file = write_csv(tmp_path / "t.csv", [("a", 0), ("b", 2.5), ("c", 5)])
    data = load_task(train_file=file, validation_file=file)
    assert (data.task.kind, data.task.metrics) == ("regression", ("pearson", "spearman"))
    assert data.split("train")["label"][:] == [0.0, 2.5, 5.0]
    classes = load_task(train_file=file, validation_file=file, regression=False)
    assert classes.task.label_names == ("0", "2.5", "5")


def test_whole_numbers_are_a_regression_on_demand(tmp_path):
    file = write_csv(tmp_path / "t.csv", [("a", 0), ("b", 5)])
    assert load_task(train_file=file, validation_file=file, regression=True).split("train")["label"][:] == [0.0, 5.0]


def test_own_names_follow_the_model_and_numbers_are_its_ids(train, tmp_path):
    numbers = write_csv(tmp_path / "n.csv", [("a", 0), ("b", 1)])
    label2id = {"pos": 0, "neg": 1}
    assert load_task(train_file=train, validation_file=train, label2id=label2id).split("train")["label"][:] == [
        0,
        1,
        0,
        1,
    ]
    assert load_task(test_file=numbers, label2id=label2id).split("test")["label"][:] == [0, 1]
    placeholders = {"LABEL_0": 0, "LABEL_1": 1}
    assert load_task(test_file=train, label2id=placeholders).task.label_names == ("neg", "pos")


def test_validation_is_held_out_of_train_alone_and_always_the_same(tmp_path):
    file = write_csv(tmp_path / "t.csv", [(f"text {i}", "ab"[i % 10 == 0]) for i in range(200)])
    data, again = load_task(train_file=file), load_task(train_file=file)
    train_texts, held = data.split("train")["text"][:], data.split("validation")["text"][:]
    assert sorted(train_texts + held) == sorted(f"text {i}" for i in range(200))
    assert (len(held), data.split("validation")["label"][:].count(1)) == (20, 2)
    assert again.split("validation")["text"][:] == held


@given(st.lists(st.integers(0, 3), min_size=1, max_size=200), st.floats(0.01, 0.99), st.integers(0, 5))
def test_a_stratified_mask_takes_its_share_of_every_label(labels, fraction, seed):
    labels = np.array(labels)
    mask = stratified(labels, fraction, seed)
    assert abs(mask.sum() - fraction * len(labels)) <= 0.5 + 1e-6
    for label in range(4):  # a run of n sorted rows holds n * fraction steps, give or take the two at its ends
        assert abs(mask[labels == label].sum() - fraction * (labels == label).sum()) <= 1 + 1e-6


# ---- what is wrong, in one line --------------------------------------------------------------------------------------


def fails(pattern, **arguments):
    with pytest.raises(DataError, match=pattern) as caught:
        load_task(**arguments)
    assert "\n" not in str(caught.value)


def test_no_data_at_all():
    fails(r"no data: give a task \(--task sst2\) or a file")


def test_a_task_and_files_together(train):
    fails("either a task or files", name="sst2", train_file=train)


def test_a_task_without_a_place_to_read_it_from():
    fails(r"sst2: no data; give --data-dir DIR .*--download", name="sst2")


def test_a_missing_task_directory(tmp_path):
    fails(r"sst2: no such directory, or none of train\.parquet", name="sst2", data_dir=tmp_path)


def test_a_missing_file(tmp_path):
    fails(r"gone\.csv: no such file", train_file=tmp_path / "gone.csv")


def test_an_unknown_suffix(tmp_path):
    (tmp_path / "t.xlsx").write_text("x")
    fails(r"cannot read \.xlsx; use \.csv, \.jsonl", train_file=tmp_path / "t.xlsx")


@pytest.mark.parametrize(("missing", "arguments"), [("body", {"text_columns": ["body"]}), ("y", {"label_column": "y"})])
def test_a_missing_column_lists_those_there_are(train, missing, arguments):
    fails(rf"train\.csv: no column '{missing}'; there are 'text', 'label'", train_file=train, **arguments)


def test_two_columns_of_one_name(tmp_path):
    fails(
        "more than one column is called 'text'",
        train_file=write_csv(tmp_path / "t.csv", [(1, 2, 3)], "text,text,label"),
    )


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_label_names_its_row(tmp_path, empty):
    file = write_csv(tmp_path / "t.csv", [("a", "x"), ("b", empty), ("c", "y")])
    fails(r"t\.csv: row 2 has an empty label \(column 'label'\)", train_file=file)


def test_a_null_label_names_its_row(tmp_path):
    pq.write_table(pa.table({"text": ["a", "b"], "label": pa.array([1.0, float("nan")])}), tmp_path / "t.parquet")
    fails("row 2 has an empty label", train_file=tmp_path / "t.parquet")


def test_a_label_that_train_does_not_have(tmp_path, train):
    file = write_csv(tmp_path / "v.csv", [("a", "pos"), ("b", "mixed")])
    fails(r"v\.csv: row 2: unknown label 'mixed'; train\.csv has neg, pos", train_file=train, validation_file=file)


def test_a_label_that_the_model_does_not_have(train):
    fails("unknown label 'pos'; the model has bad, good", test_file=train, label2id={"bad": 0, "good": 1})


def test_a_model_with_another_number_of_labels(train):
    fails("there are 2 labels, but the model has 3", test_file=train, label2id={f"LABEL_{i}": i for i in range(3)})


def test_a_number_that_is_no_label_of_the_task(tmp_path):
    glue_directory(tmp_path, "sst2", sentence=["a", "b"], label=[0, 2])
    fails("row 2: unknown label '2'; task sst2 has negative, positive", name="sst2", data_dir=tmp_path)


def test_one_class_only(tmp_path):
    file = write_csv(tmp_path / "t.csv", [("a", "x"), ("b", "x")])
    fails("every row has the label 'x' .*needs at least two", train_file=file)


def test_a_regression_label_that_is_no_number(tmp_path):
    file = write_csv(tmp_path / "t.csv", [("a", "1.5"), ("b", "high")])
    fails("row 2: the label 'high' is not a number", train_file=file, regression=True)


@pytest.mark.parametrize(
    ("name", "content"),
    [("t.csv", "text,label\n"), ("t.jsonl", "\n"), ("t.csv", "")],
    ids=["header only", "blank line", "empty file"],
)
def test_no_rows(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    fails(r"there are no rows|no column 'text'; there are none", train_file=tmp_path / name)


@pytest.mark.parametrize(("line", "reason"), [("{oops", "line 2 is not JSON"), ("[1]", "line 2 is not a JSON object")])
def test_a_line_that_is_not_an_object(tmp_path, line, reason):
    (tmp_path / "t.jsonl").write_text('{"text": "a", "label": 0}\n' + line + "\n")
    fails(reason, train_file=tmp_path / "t.jsonl")


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_a_file_that_is_not_what_its_name_says(tmp_path, name):
    (tmp_path / name).write_bytes(b"\xff\xfe\x00binary")
    fails(r"t\.(csv|jsonl|parquet): ", train_file=tmp_path / name)


def test_too_few_rows_to_hold_out(tmp_path):
    file = write_csv(tmp_path / "t.csv", ROWS)
    fails("4 training rows are too few to hold out 0.1 of them", train_file=file)


@pytest.mark.parametrize("share", [0, 1, -0.5])
def test_a_held_out_share_outside_zero_to_one(train, share):
    fails("expected a number between 0 and 1", train_file=train, validation_split=share)


def test_a_part_of_no_rows(train):
    fails("--max-train is 1 or more", train_file=train, validation_file=train, max_train=0)


def test_a_split_that_is_not_there(train):
    with pytest.raises(DataError, match="no split 'test'; there are train, validation"):
        load_task(train_file=train, validation_file=train).split("test")
