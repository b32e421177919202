"""The worker's side: commands in, answers or reasons out, and nothing but the second of two calls is timed."""

import json

import pytest

from bitbert.bench import worker
from bitbert.bench.contenders import Setup
from bitbert.errors import ModelError

SETUP = {"name": "fake", "contender": "fake", "config": {}, "threads": 1}


class Fake:
    how = "by hand"

    def __init__(self, setup):
        self.setup, self.runs = setup, []

    def load(self, batches):
        self.batches = batches

    def run(self, index):
        self.runs.append(index)

    def answer(self, index):
        raise ModelError("no answer\nat all")


@pytest.fixture
def serve(monkeypatch):
    """Answers to commands, in order, and the contender that was built."""
    built = []
    monkeypatch.setattr(worker, "build", lambda setup: built.append(Fake(setup)) or built[0])

    def call(*commands):
        replies = []
        worker.serve((json.dumps(command) for command in commands), replies.append)
        return [json.loads(reply) for reply in replies], built

    return call


def test_a_workload_is_run_twice_to_warm_up(serve):
    batch = [[[1, 2]], [[0, 0]]]
    replies, (fake,) = serve({"build": SETUP}, {"load": [batch, batch]})
    assert replies[0] == {"value": "by hand"}
    assert fake.setup == Setup(**SETUP)
    assert fake.runs == [0] * worker.WARM_UPS + [1] * worker.WARM_UPS
    assert len(replies[1]["value"]) == 2
    assert all(seconds > 0 for seconds in replies[1]["value"])


@pytest.mark.parametrize(("settle", "runs"), [(True, 2), (False, 1)])
def test_settling_takes_a_call_more(serve, settle, runs):
    replies, (fake,) = serve({"build": SETUP}, {"run": {"batch": 1, "settle": settle}})
    assert fake.runs == [1] * runs
    assert replies[1]["value"] > 0


def test_only_the_last_call_is_timed(serve, monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(worker.time, "perf_counter", lambda: next(clock))
    replies, _ = serve({"build": SETUP}, {"run": {"batch": 0, "settle": True}})
    assert replies[1] == {"value": 1}
    assert next(clock) == 2


def test_an_error_is_an_answer_and_the_next_command_is_heard(serve):
    replies, _ = serve({"build": SETUP}, {"answer": 0}, {"run": {"batch": 0, "settle": False}})
    assert replies[1] == {"error": "no answer"}
    assert "value" in replies[2]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ModelError("plain"), "plain"),
        (ValueError("\n  first\nsecond"), "ValueError: first"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_an_error_in_one_line(error, line):
    assert worker.one_line(error) == line
