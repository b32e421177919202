"""`bitbert predict`: every way in gives the same answers, JSON stays JSON, and wrong input is one line."""

import json
import subprocess
import sys

import numpy as np
import pytest

import bitbert
from support.lines import jsonl

pytest.importorskip("bitbert._native", reason="the native engine is not built")

TEXTS = ["a good film", "the film is dull !", "", "not bad"]
PAIRS = [("a good film", "the film is bad"), ("", "dull")]


def expected(directory, texts=TEXTS):
    found = bitbert.load(directory).predict(texts)
    return [(f.label, pytest.approx(f.score)) for f in found]


def answers(result):
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return [(row["label"], row["score"]) for row in jsonl(result.stdout)]


def test_texts_as_arguments(run, pack):
    directory = pack()
    result = run("predict", directory, *TEXTS, "--json")
    assert answers(result) == expected(directory)
    first = jsonl(result.stdout)[0]
    assert (first["text"], list(first["scores"])) == ("a good film", ["negative", "positive"])


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_lines_on_standard_input_keep_their_order_and_the_empty_one(run, pack, batch_size):
    directory = pack()
    result = run("predict", directory, "--json", "--batch-size", batch_size, input="\n".join(TEXTS) + "\n")
    assert answers(result) == expected(directory)


def test_jsonl_on_standard_input(run, pack):
    directory = pack()
    lines = "\n\n".join(json.dumps({"id": i, "text": text}) for i, text in enumerate(TEXTS))
    assert answers(run("predict", directory, "--json", input=lines)) == expected(directory)


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.txt", "t.parquet"])
def test_files(run, pack, tmp_path, name):
    directory, file = pack(), tmp_path / name
    if name == "t.csv":
        file.write_text("label,body\n" + "".join(f"x,{text}\n" for text in TEXTS))
    elif name == "t.jsonl":
        file.write_text("".join(json.dumps({"body": text}) + "\n" for text in TEXTS))
    elif name == "t.parquet":
        pq = pytest.importorskip("pyarrow.parquet")
        pq.write_table(pytest.importorskip("pyarrow").table({"body": TEXTS}), file)
    else:
        file.write_text("\n".join(TEXTS) + "\n")
    column = [] if name == "t.txt" else ["--text-column", "body"]
    assert answers(run("predict", directory, "--file", file, *column, "--json")) == expected(directory)


def test_pairs_as_arguments_and_fields(run, pack, tmp_path):
    directory = pack()
    one = run("predict", directory, PAIRS[0][0], "--text-pair", PAIRS[0][1], "--json")
    assert answers(one) == expected(directory, PAIRS[:1])
    lines = "".join(json.dumps({"text": a, "text_pair": b}) + "\n" for a, b in PAIRS)
    assert answers(run("predict", directory, "--json", input=lines)) == expected(directory, PAIRS)
    (tmp_path / "p.csv").write_text("p,q\n" + "".join(f"{a},{b}\n" for a, b in PAIRS))
    columns = ("--text-column", "p", "--text-column", "q")
    found = run("predict", directory, "--file", tmp_path / "p.csv", *columns, "--json")
    assert answers(found) == expected(directory, PAIRS)
    assert jsonl(found.stdout)[0]["text_pair"] == PAIRS[0][1]


def test_embeddings(run, pack):
    directory = pack()
    rows = jsonl(run("predict", directory, *TEXTS, "--embed", "--json").stdout)
    embeddings = np.array([row["embedding"] for row in rows], np.float32)
    np.testing.assert_array_equal(embeddings, bitbert.load(directory).encode(TEXTS))
    assert "64 numbers]  a good film" in run("predict", directory, *TEXTS, "--embed").stdout


def test_a_regression_answers_with_numbers(run, pack):
    directory = pack(id2label={"0": "LABEL_0"}, problem_type="regression")
    value = bitbert.load(directory).predict(["a film"])[0].value
    assert jsonl(run("predict", directory, "a film", "--json").stdout) == [{"text": "a film", "value": value}]
    assert run("predict", directory, "a film").stdout.split() == [f"{value:.4f}", "a", "film"]


def test_rows_for_people_fit_the_terminal(run, pack):
    result = run("predict", pack(), "a good\nfilm", "bad " * 9, env={"COLUMNS": "30"})
    lines = result.stdout.splitlines()
    assert lines[0].split()[2:] == ["a", "good", "film"]
    assert [len(line) <= 30 for line in lines] == [True, True]


def test_long_texts_are_cut_and_it_is_said_once_a_batch(run, pack):
    result = run("predict", pack(), "a film", "bad " * 50, "dull " * 50, "--json")
    assert len(jsonl(result.stdout)) == 2 + 1
    assert result.stderr == "note: 2 of 3 texts are longer than 40 tokens and were cut\n"


def test_threads_do_not_change_answers(run, pack):
    directory = pack()
    one, two = (run("predict", directory, *TEXTS, "--json", "--threads", n).stdout for n in (1, 2))
    assert one == two


def test_no_input_gives_no_output(run, pack):
    result = run("predict", pack(), input="")
    assert (result.exit_code, result.output) == (0, "")


def test_torch_is_not_imported(pack):
    code = (
        "import sys; from typer.testing import CliRunner; from bitbert.cli.__main__ import app\n"
        f"assert CliRunner().invoke(app, ['predict', {str(pack())!r}, 'a film']).exit_code == 0\n"
        "assert not {'torch', 'transformers', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- wrong input -----------------------------------------------------------------------------------------------------


def test_no_such_model(fails):
    assert "nowhere is not a directory" in fails("predict", "nowhere", "a film")


def test_a_damaged_model(fails, pack):
    weights = pack() / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert "model.safetensors" in fails("predict", weights.parent, "a film")


def test_a_file_that_is_no_text(fails, pack, tmp_path):
    (tmp_path / "t.txt").write_bytes(b"\xff\xfe\x00")
    assert "t.txt: 'utf-8' codec" in fails("predict", pack(), "--file", tmp_path / "t.txt")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["a", "--file", "f.csv"], "give texts or --file, not both"),
        (["a", "b", "--text-pair", "c"], "exactly one TEXT"),
        (["--file", "gone.csv"], "gone.csv: no such file"),
        (["--file", "gone.txt"], "gone.txt: no such file"),
        (["--text-column", "a", "--text-column", "b", "--text-column", "c"], "once, or twice for pairs"),
    ],
)
def test_arguments_that_do_not_go_together(fails, pack, arguments, reason):
    assert reason in fails("predict", pack(), *arguments)


def test_a_missing_column_lists_those_there_are(fails, pack, tmp_path):
    (tmp_path / "t.csv").write_text("body,label\na,b\n")
    assert "no column 'text'; there are 'body', 'label'" in fails("predict", pack(), "--file", tmp_path / "t.csv")


def test_a_missing_json_field_lists_those_there_are(fails, pack):
    assert "standard input: no column 'text'; there are 'body'" in fails("predict", pack(), input='{"body": "a"}\n')


def test_a_line_that_is_no_json(run, pack):
    result = run("predict", pack(), "--json", input='{"text": "a film"}\n{"text": \n')
    assert result.exit_code == 2
    assert result.stderr.startswith("error: standard input: line 2 is not JSON")


def test_an_instruction_set_that_this_cpu_lacks(fails, pack, monkeypatch):
    monkeypatch.setenv("BITBERT_ISA", "abacus")
    assert "'abacus' cannot run" in fails("predict", pack(), "a film")
