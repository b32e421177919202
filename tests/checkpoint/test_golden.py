"""Golden bytes: a small encoder of many widths and packings, whose files and answers must never change by a bit."""

import json
from pathlib import Path

import numpy as np
import pytest

from bitbert.checkpoint import read, write
from bitbert.runtime.reference import Reference

GOLDEN = Path(__file__).parents[1] / "golden"
DIRECTORY = GOLDEN / "encoder"


@pytest.fixture(scope="module")
def answer():
    """Token ids and types, and the logits and the first pooled values as hexadecimal floats."""
    answer = json.loads((GOLDEN / "encoder_logits.json").read_text())
    return answer | {key: [float.fromhex(value) for value in answer[key]] for key in ("logits", "pooled")}


def test_what_is_read_is_written_back_byte_for_byte(tmp_path):
    path = write(read(DIRECTORY), tmp_path / "model")
    for name in ("model.safetensors", "config.json"):
        assert (path / name).read_bytes() == (DIRECTORY / name).read_bytes()


def test_the_reference_gives_the_golden_answer(answer):
    ids, types = (np.array(answer[key], np.int32) for key in ("ids", "token_types"))
    output = Reference(read(DIRECTORY)).run(ids, types)
    assert output.logits.tolist() == answer["logits"]
    assert output.pooled[:4].tolist() == answer["pooled"]


def test_the_engine_gives_the_golden_answer(answer):
    engine = pytest.importorskip(
        "bitbert.runtime.engine", reason="the native engine is not built", exc_type=ImportError
    )
    ids, types = (np.array(answer[key], np.int32) for key in ("ids", "token_types"))
    assert engine.Engine(read(DIRECTORY)).forward([ids], [types])[0].tolist() == answer["logits"]
