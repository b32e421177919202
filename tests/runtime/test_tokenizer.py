"""The tokenizer: special tokens, pairs, no padding, cutting with a notice, and a clear line for each wrong input."""

import warnings

import pytest

from bitbert.checkpoint import Architecture
from bitbert.errors import CheckpointError, DataError
from bitbert.runtime.tokenizer import Tokenizer, TruncationWarning, checked_texts
from support.random_model import tiny_config
from support.tiny_tokenizer import tiny_tokenizer

CLS, SEP = 2, 3


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(tiny_tokenizer())
    return tmp_path


def make(directory, max_length=None, **config):
    return Tokenizer(directory, Architecture.from_config(tiny_config(**config)), max_length)


def test_single_texts_have_their_special_tokens_and_no_padding(directory):
    ids, types = make(directory).encode(["a good film", "a", ""])
    assert [i.tolist() for i in ids] == [[CLS, 4, 6, 5, SEP], [CLS, 4, SEP], [CLS, SEP]]
    assert [t.tolist() for t in types] == [[0] * 5, [0] * 3, [0] * 2]
    assert {array.dtype.name for array in [*ids, *types]} == {"int32"}


@pytest.mark.parametrize("pair", [("a film", "good"), ["a film", "good"]])
def test_pairs_have_two_token_types(directory, pair):
    ids, types = make(directory).encode([pair])
    assert ids[0].tolist() == [CLS, 4, 5, SEP, 6, SEP]
    assert types[0].tolist() == [0, 0, 0, 0, 1, 1]


def test_long_texts_are_cut_with_one_notice(directory):
    tokenizer = make(directory, max_length=6)
    with pytest.warns(TruncationWarning, match="^1 of 3 texts is longer than 6 tokens and was cut$") as notices:
        ids, _ = tokenizer.encode(["a " * 100, "a", "a a a a"])
    assert len(notices) == 1
    assert [len(i) for i in ids] == [6, 3, 6]
    with pytest.warns(TruncationWarning, match="^2 of 2 texts are longer than 6 tokens and were cut$"):
        tokenizer.encode(["a " * 100, "a " * 5])


def test_the_default_length_is_what_the_model_takes(directory):
    assert make(directory).max_length == 40
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(make(directory).encode(["a " * 38])[0][0]) == 40


@pytest.mark.parametrize("length", [0, 3, 41])
def test_a_length_that_is_not_possible(directory, length):
    with pytest.raises(DataError, match=f"max_length {length} is not possible: this model takes 4 to 40 tokens"):
        make(directory, length)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("a film", "texts must be a list of strings or of pairs of strings, not str"),
        (b"a film", "not bytes"),
        (7, "not int"),
        (None, "not NoneType"),
        (["a", 7], "text 1 must be a string or a pair of strings, not 7"),
        (["a", None], "text 1 must be"),
        ([("a", "b", "c")], "text 0 must be"),
        ([("a", None)], "text 0 must be"),
        (["a", ("b", "c")], "text 1 differs from text 0"),
        ([("b", "c"), "a"], "text 1 differs from text 0"),
    ],
)
def test_wrong_input(texts, message):
    with pytest.raises(DataError, match=message):
        checked_texts(texts)


def test_any_iterable_of_texts_will_do():
    assert checked_texts(text for text in ("a", "b")) == ["a", "b"]
    assert checked_texts([]) == []


def test_pairs_need_two_token_types(directory):
    tokenizer = make(directory, type_vocab_size=1)
    tokenizer.encode(["a"])
    with pytest.raises(DataError, match="give it single texts, not pairs"):
        tokenizer.encode([("a", "a")])


def test_a_missing_damaged_or_larger_tokenizer(directory):
    with pytest.raises(CheckpointError, match=r"tokenizer.json has 65 tokens, but the model has 60"):
        make(directory, vocab_size=60)
    (directory / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"tokenizer.json is not a tokenizer"):
        make(directory)
    (directory / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer.json is missing: without it the model cannot read text"):
        make(directory)
