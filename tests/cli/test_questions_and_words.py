"""The commands on questions and on tagged words: from a JSONL file to answers, and every mistake in one line."""

import json

import pytest

import bitbert
from bitbert.checkpoint import write
from bitbert.cli.options import read_head
from support.lines import jsonl
from support.questions import questions, tagged, write_jsonl
from support.random_model import random_model, tiny_config
from support.tiny_tokenizer import tiny_tokenizer

pytest.importorskip("bitbert._native", reason="the native engine is not built")

ROWS = {"answering": questions, "tagging": tagged}
NAMES = {"B-film": 0, "B-mood": 1, "O": 2}
TUNE = ("--epochs", "1", "--max-length", "32", "-o")
QUICK = ("--set", "epochs=1", "--set", "calibration.batches=2", "--max-length", "32", "--json", "-o")


@pytest.fixture
def qa(tmp_path):
    return pack(tmp_path / "qa", "BertForQuestionAnswering")


@pytest.fixture
def tagger(tmp_path):
    labels = {str(i): name for name, i in NAMES.items()}
    return pack(tmp_path / "tagger", "BertForTokenClassification", id2label=labels, label2id=NAMES)


def pack(path, architecture, **config):
    model = random_model(config=tiny_config(architecture, **config))
    return write(model, path, files={"tokenizer.json": tiny_tokenizer()}, report={})


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("contents", ROWS)
def test_from_a_file_to_scores(run, encoder, tmp_path, contents):
    rows = write_jsonl(tmp_path / "rows.jsonl", ROWS[contents](48))
    made = run("finetune", encoder, "--contents", contents, "--train-file", rows, *TUNE, "float")
    assert made.exit_code == 0, made.output
    assert "validation: f1 " in made.stderr
    made = run(
        "quantize", "float", "--train-file", rows, "--bits", "w4a8", *QUICK, "packed"
    )  # the head says what it is
    assert made.exit_code == 0, made.output
    report = json.loads(made.stdout)
    scores = json.loads(run("evaluate", "packed", "--train-file", rows, "--json").stdout)["validation"]
    assert scores["f1"] == report["splits"]["validation"]["f1"]
    table = run("evaluate", "float", "--test-file", rows, "--split", "test")
    assert table.exit_code == 0, table.output
    assert "f1" in table.stdout


def test_questions(run, qa, tmp_path):
    question, context = "is it good", "the film is gripping !"
    found = bitbert.load(qa).answer(question, context)
    expected = {
        "question": question,
        "context": context,
        "answer": found.text,
        "score": found.score,
        "start": found.start,
        "end": found.end,
    }
    assert jsonl(run("predict", qa, question, "--text-pair", context, "--json").stdout) == [expected]
    line = json.dumps({"question": question, "context": context}) + "\n"
    assert jsonl(run("predict", qa, "--json", input=line).stdout) == [expected]
    (tmp_path / "q.csv").write_text(f"q,c\n{question},{context}\n")
    columns = ("--text-column", "q", "--text-column", "c")
    assert jsonl(run("predict", qa, "--file", tmp_path / "q.csv", *columns, "--json").stdout) == [expected]
    shown = run("predict", qa, input=line).stdout
    assert shown.startswith(f"{found.score:6.3f}  {found.text}  {question}")


def test_words(run, tagger, tmp_path):
    words = ["the", "films", "is", "bad"]
    found = bitbert.load(tagger).tag(words)
    (row,) = jsonl(run("predict", tagger, "--json", input=json.dumps({"words": words}) + "\n").stdout)
    assert row["words"] == words
    assert [(tag["word"], tag["label"]) for tag in row["tags"]] == [(w.text, w.label) for w in found.words]
    assert [entity["text"] for entity in row["entities"]] == [entity.text for entity in found.entities]
    (same,) = jsonl(run("predict", tagger, " ".join(words), "--json").stdout)
    assert (same["text"], same["tags"]) == (" ".join(words), row["tags"])
    (field,) = jsonl(run("predict", tagger, "--json", input=json.dumps({"text": " ".join(words)}) + "\n").stdout)
    assert field == same
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pytest.importorskip("pyarrow").table({"words": [words]}), tmp_path / "w.parquet")
    assert jsonl(run("predict", tagger, "--file", tmp_path / "w.parquet", "--json").stdout) == [row]
    entities = "; ".join(f"{e.label}: {e.text}" for e in found.entities) or "-"
    assert run("predict", tagger, " ".join(words)).stdout == f"{entities}  {' '.join(words)}\n"


def test_heads_are_read_from_any_model(qa, tagger, encoder):
    assert (read_head(str(qa)).contents, read_head(str(tagger)).contents) == ("answering", "tagging")
    assert read_head(str(tagger)).label2id == NAMES
    assert read_head(str(encoder)) is None


# ---- wrong input -----------------------------------------------------------------------------------------------------


def test_a_question_without_its_context(fails, qa):
    assert "input 0 must be a question and its context, two strings, not 'who'" in fails("predict", qa, "who")
    assert "no column 'context'; there are 'question'" in fails("predict", qa, input='{"question": "who"}\n')
    assert "the context of input 0 is empty" in fails("predict", qa, "who", "--text-pair", " ")


def test_an_answer_outside_its_context(fails, encoder, tmp_path):
    row = {"question": "who", "context": "a film", "answers": {"text": ["book"], "answer_start": [2]}}
    rows = write_jsonl(tmp_path / "rows.jsonl", [row])
    problem = fails("finetune", encoder, "--contents", "answering", "--train-file", rows, "-o", "out")
    assert "rows.jsonl: row 1: the answer 'book' is not at 2 of its context: it stands nowhere in it" in problem


def test_words_without_their_tags(fails, encoder, tmp_path):
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"words": ["a", "film"], "tags": ["O"]}])
    problem = fails("finetune", encoder, "--contents", "tagging", "--train-file", rows, "-o", "out")
    assert "row 1 has 2 words, but 1 tags" in problem


def test_a_tag_that_the_model_does_not_have(fails, tagger, tmp_path):
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"words": ["a"], "tags": ["B-book"]}])
    problem = fails("evaluate", tagger, "--test-file", rows, "--split", "test")
    assert "unknown tag 'B-book'; the model has B-film, B-mood, O" in problem


def test_a_task_of_the_wrong_kind(fails, qa, classifier, tmp_path):
    rows = write_jsonl(tmp_path / "rows.jsonl", tagged(8))
    how = ("--contents", "tagging", "--test-file", rows, "--split", "test")
    problem = fails("evaluate", qa, *how)
    assert "--contents tagging does not go with the model, whose head is for answering" in problem
    how = ("--contents", "answering", "--train-file", write_jsonl(tmp_path / "q.jsonl", questions(20)), "-o", "out")
    assert "--contents answering does not go with the model, whose head is for texts" in fails(
        "quantize", classifier, *how
    )


@pytest.mark.parametrize("task", ["squad", "wnut17"])
def test_a_named_task_of_the_wrong_kind(fails, classifier, tmp_path, task):
    pq, pa = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    answers = {"text": ["film"], "answer_start": [2]}
    columns = {
        "squad": {"question": ["who"], "context": ["a film"], "answers": [answers]},
        "wnut17": {"tokens": [["a"]], "ner_tags": [[0]]},
    }
    (tmp_path / task).mkdir()
    pq.write_table(pa.table(columns[task]), tmp_path / task / "validation.parquet")
    problem = fails("evaluate", classifier, "--task", task, "--data-dir", tmp_path)
    expected = {"squad": "no head for questions", "wnut17": "task wnut17 has the labels O, B-corporation"}
    assert expected[task] in problem
