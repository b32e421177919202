"""What benchmark scripts keep of a figure."""

import json
import subprocess

import pytest

from bitbert.bench.records import commit, put_between, write_json


@pytest.fixture
def checkout(tmp_path):
    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    for name in ("src/code.py", "native/code.cpp", "benchmarks/own/run.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("1")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    return tmp_path


def test_the_commit_says_whether_what_is_measured_differs_from_it(checkout):
    place = checkout / "benchmarks" / "own"
    clean = commit(place)
    assert len(clean) == 40
    (place / "run.py").write_text("2")
    assert commit(place) == clean
    assert commit(place, ":/benchmarks/own/*.py") == f"{clean}+changes"
    (checkout / "src" / "code.py").write_text("2")
    assert commit(place) == f"{clean}+changes"


def test_a_long_list_stands_on_one_line(tmp_path):
    result = {"a": 1, "outputs": [1, 2, 3], "b": {"c": []}}
    path = tmp_path / "new" / "result.json"
    write_json(path, result, on_one_line="outputs")
    assert json.loads(path.read_text()) == result
    assert '"outputs": [1,2,3]' in path.read_text()
    assert [file.name for file in path.parent.iterdir()] == ["result.json"]


def test_a_table_takes_the_place_of_the_one_before(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- a -->\nold\nold\n<!-- b -->\nafter\n")
    for text in ("new", "newer"):
        put_between(page, "<!-- a -->", text, "<!-- b -->")
    assert page.read_text() == "before\n<!-- a -->\nnewer\n<!-- b -->\nafter\n"
