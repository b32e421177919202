"""The other end: a process that runs while it is asked and at no other time, and whose end has a reason."""

import dataclasses
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from bitbert.bench.process import Process
from bitbert.bench.rounds import RacerError
from bitbert.bench.setups import packed
from bitbert.bench.workload import random_workload
from bitbert.checkpoint import read
from support.random_model import write_random

engine = pytest.importorskip("bitbert.runtime.engine", reason="the native engine is not built")


def state(pid):
    """As `ps` shows it: R, S, T (stopped), Z."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def wait_until_stopped(pid):
    deadline = time.monotonic() + 5
    while state(pid) != "T" and time.monotonic() < deadline:
        time.sleep(0.001)


@pytest.fixture
def process(tmp_path):
    with Process(packed(write_random(tmp_path / "packed"), 1)) as process:
        yield process


def test_it_answers_as_the_engine_does_and_is_stopped_in_between(process):
    workload = random_workload((2, 8), 101)
    assert process.build() == f"no padding, {engine.choose_isa()}"
    process.load(workload)
    assert process.run(0) > 0
    expected = engine.Engine(read(process.setup.directory)).forward(workload.batches[0].ids, output="pooled")
    np.testing.assert_array_equal(np.float32(process.answer(0)), expected)
    wait_until_stopped(process._worker.pid)
    assert state(process._worker.pid) == "T"


def test_a_model_without_pooler_answers_with_first_tokens(tmp_path):
    workload = random_workload((2, 8), 101)
    with Process(packed(write_random(tmp_path / "packed", architecture="BertForTokenClassification"), 1)) as process:
        process.build()
        process.load(workload)
        model = engine.Engine(read(process.setup.directory))
        hidden = model.forward(workload.batches[0].ids, output="hidden")
        np.testing.assert_array_equal(np.float32(process.answer(0)), hidden[[0, 8]])


def test_a_reason_from_inside(tmp_path):
    directory = write_random(tmp_path / "packed")
    setup = packed(directory, 1)
    (directory / "config.json").unlink()
    with Process(setup) as process, pytest.raises(RacerError, match=r"config\.json: cannot be read"):
        process.build()


def test_a_process_that_is_killed_has_a_reason(process):
    process.build()
    os.kill(process._worker.pid, signal.SIGKILL)
    with pytest.raises(RacerError, match="its process ended by SIGKILL"):
        process.load(random_workload((1, 4), 101))


def test_what_a_library_prints_last_is_the_reason(monkeypatch, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.exit('\\nno such luck\\n')")
    monkeypatch.syspath_prepend(tmp_path)
    setup = packed(write_random(tmp_path / "packed"), 1)
    with Process(setup) as process, pytest.raises(RacerError, match="ended with exit code 1: no such luck"):
        process.build()


def test_it_leaves_no_process_behind(tmp_path):
    with Process(packed(write_random(tmp_path / "packed"), 1)) as process:
        pid = process._worker.pid
        process.build()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_its_own_environment(tmp_path):
    """The instruction set of one process may be forced, and bitbert's engine says which it runs."""
    setup = dataclasses.replace(packed(write_random(tmp_path / "packed"), 1), environment={"BITBERT_ISA": "scalar"})
    with Process(setup) as process:
        assert process.build() == "no padding, scalar"
    assert "BITBERT_ISA" not in os.environ
