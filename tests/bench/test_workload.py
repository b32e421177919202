"""Workloads: shapes are read or refused, tokens repeat, padding is masked, texts go by length."""

import numpy as np
import pytest

from bitbert.bench.workload import Batch, parse_shapes, random_workload, text_workload
from bitbert.errors import DataError


def arrays(*lengths):
    return [np.arange(1, n + 1, dtype=np.int32) for n in lengths]


def test_shapes():
    assert parse_shapes("1x32, 8x128", 128) == [(1, 32), (8, 128)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "'' is not a shape: expected BxT"),
        ("1x32,", "'' is not a shape"),
        ("32", "'32' is not a shape"),
        ("1X32", "'1X32' is not a shape"),
        ("-1x32", "'-1x32' is not a shape"),
        ("0x32", "expected 1 or more sequences of 1 to 128 tokens"),
        ("1x0", "1x0 is not possible"),
        ("1x129", "1x129 is not possible: expected 1 or more sequences of 1 to 128 tokens"),
        ("1x32,8x16,1x32", "1x32 is given more than once"),
    ],
)
def test_what_is_no_shape(text, reason):
    with pytest.raises(DataError, match=reason):
        parse_shapes(text, 128)


def test_random_tokens_fill_the_shape_and_are_the_same_every_time():
    one, two = (random_workload((3, 7), 101) for _ in range(2))
    assert (one.name, one.kind, one.sequences, one.tokens) == ("3x7", "shape", 3, 21)
    ids = np.array(one.batches[0].ids)
    assert ids.dtype == np.int32
    assert ids.min() >= 0
    assert ids.max() < 101
    np.testing.assert_array_equal(ids, two.batches[0].ids)
    assert not np.any(one.batches[0].types)


def test_texts_go_into_batches_of_similar_length_the_longest_first():
    ids = arrays(2, 9, 4, 7, 3)
    workload = text_workload("t", ids, [np.zeros_like(x) for x in ids], batch_size=2)
    assert [[len(x) for x in batch.ids] for batch in workload.batches] == [[9, 7], [4, 3], [2]]
    assert (workload.kind, workload.sequences, workload.tokens) == ("texts", 5, 25)


def test_padding_is_masked():
    padded = Batch(arrays(3, 1), [np.array([0, 1, 1], np.int32), np.zeros(1, np.int32)]).padded()
    assert {name: value.tolist() for name, value in padded.items()} == {
        "input_ids": [[1, 2, 3], [1, 0, 0]],
        "attention_mask": [[1, 1, 1], [1, 0, 0]],
        "token_type_ids": [[0, 1, 1], [0, 0, 0]],
    }
    assert {value.dtype for value in padded.values()} == {np.dtype(np.int64)}


def test_batches_survive_the_way_to_another_process():
    batch = Batch(arrays(3, 1), arrays(3, 1))
    again = Batch.from_json(batch.to_json())
    for one, other in zip(batch.ids + batch.types, again.ids + again.types, strict=True):
        np.testing.assert_array_equal(one, other)
        assert other.dtype == np.int32
