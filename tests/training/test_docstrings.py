"""The quickstart's data: names are gone, nothing stands on both sides of the split, and words still tell the topic."""

import re
import sys
import sysconfig
from collections import Counter

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import make_pipeline

from bitbert.errors import DataError
from bitbert.training.docstrings import TOPICS, collect, load_docstrings


@pytest.fixture(scope="module")
def data():
    return load_docstrings()


def write(root, module, source):
    path = root / f"{module}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)


def function(name, doc):
    return f'def {name}():\n    """{doc}"""\n'


# ---- one text --------------------------------------------------------------------------------------------------------


def test_names_are_taken_out_and_prose_is_kept(tmp_path):
    doc = "Spawn a pool of Threading workers via socket.create_server, ThreadPool, run_all and start() until done."
    write(tmp_path, "asyncio/workers", function("spawn", doc))
    assert collect(tmp_path) == [("a pool of via , , and until done.", "concurrency")]


def test_doctest_input_is_left_out(tmp_path):
    doc = "Count the words of a long sentence:\n\n    >>> tally(text)\n    ... # more\n    seven\n"
    write(tmp_path, "textwrap", function("f", doc))
    assert [text for text, _ in collect(tmp_path)] == ["Count the words of a long sentence: seven"]


def test_modules_classes_methods_and_coroutines_count(tmp_path):
    source = '"""one two three four five six"""\nclass C:\n    """alpha beta gamma delta zeta eta"""\n'
    source += '    async def f(self):\n        """red green blue white black brown"""\n'
    write(tmp_path, "turtle", source)
    assert [topic for _, topic in collect(tmp_path)] == ["gui"] * 3


def test_short_texts_are_dropped(tmp_path):
    write(tmp_path, "turtle", function("f", "only five words of prose") + function("g", "but here are six of them"))
    assert len(collect(tmp_path)) == 1


def test_a_near_twin_is_dropped(tmp_path):
    doc = "Return the rounded sum of both operands after they were scaled"
    write(
        tmp_path,
        "decimal",
        function("f", doc) + function("g", doc + " twice") + function("h", "Something quite else is said here"),
    )
    assert [text.split()[0] for text, _ in collect(tmp_path)] == ["Return", "Something"]


def test_nothing_is_run_and_tests_are_left_out(tmp_path):
    write(tmp_path, "turtle", function("f", "draws a line on the screen") + "raise SystemExit('was run')\n")
    write(tmp_path, "tkinter/test/widgets", function("f", "checks that a click is seen twice"))
    assert len(collect(tmp_path)) == 1


# ---- the whole set ---------------------------------------------------------------------------------------------------


def test_size_and_balance(data):
    counts = Counter(data.split("train")["label"][:]) + Counter(data.split("validation")["label"][:])
    assert 4000 < sum(counts.values()) < 8000
    assert max(counts.values()) <= 0.3 * sum(counts.values())
    assert set(data.task.label_names) <= set(TOPICS)
    assert set(counts) == set(range(data.task.num_labels))
    assert len(data.split("validation")) == pytest.approx(0.2 * sum(counts.values()), abs=1)


def test_every_run_gives_the_same_rows(data):
    again = load_docstrings()
    assert [rows.to_dict() for rows in again.splits.values()] == [rows.to_dict() for rows in data.splits.values()]


def test_no_module_name_is_left(data):
    modules = {name.lower() for name in sys.stdlib_module_names}
    for rows in data.splits.values():
        for text in rows["text"][:]:
            assert not modules & set(re.findall(r"[a-z0-9]+", text.lower())), text


def test_held_out_texts_are_new(data):
    def runs(text):
        words = re.findall("[a-z]+", text.lower())[:48]
        return {tuple(words[i : i + 4]) for i in range(len(words) - 3)}

    texts = data.split("train")["text"][:]
    for text in data.split("validation")["text"][:]:
        assert text not in texts
    train = [runs(text) for text in texts]
    by_run = {}
    for i, those in enumerate(train):
        for run in those:
            by_run.setdefault(run, set()).add(i)
    for text in data.split("validation")["text"][:]:
        mine = runs(text)
        for i in set().union(*(by_run.get(run, set()) for run in mine)):
            assert len(mine & train[i]) / len(mine | train[i]) < 0.6, (text, texts[i])


def test_words_tell_the_topic_but_not_at_once(data):
    train, held = data.split("train"), data.split("validation")
    model = make_pipeline(TfidfVectorizer(sublinear_tf=True), SGDClassifier(alpha=3e-5, random_state=0))
    score = model.fit(train["text"][:], train["label"][:]).score(held["text"][:], held["label"][:])
    majority = max(Counter(held["label"][:]).values()) / len(held)
    assert majority + 0.3 < score < 0.8


def test_a_library_without_sources_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(DataError, match=r"0 usable docstrings, expected 1000 or more; .* give --task"):
        load_docstrings()
