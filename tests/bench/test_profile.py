"""Profiles: seconds by operation are added up over batches, and medians taken over calls."""

import time

import pytest

from bitbert.bench import profile as bench_profile
from bitbert.bench.profile import profile
from bitbert.bench.workload import random_workload, text_workload
from support.random_model import random_ids, tiny_config, write_random

pytest.importorskip("bitbert._native", reason="the native engine is not built")


class Engine:
    """Takes longer with every call, and twice as long for `ffn`."""

    class architecture:  # noqa: N801 (the attribute of an engine)
        pooler = True

    def __init__(self, model, isa):
        self.calls = 0

    def profile(self, ids, types, *, output, threads):
        assert (output, threads) == ("pooled", 2)
        self.calls += 1
        return {"attention": float(self.calls), "ffn": 2.0 * self.calls}


def test_medians_of_calls_after_a_warm_up(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_profile, "Engine", Engine)
    report = profile(write_random(tmp_path / "packed"), [random_workload((1, 4), 101)], threads=2, rounds=3)
    (workload,) = report["workloads"]
    assert (workload["name"], workload["rounds"], report["threads"]) == ("1x4", 3, 2)
    assert {name: found["median"] for name, found in workload["operations"].items()} == {"attention": 3, "ffn": 6}


def test_batches_are_added_up(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_profile, "Engine", Engine)
    texts = text_workload("t", *random_ids(tiny_config(), [4] * 40))  # two batches
    (workload,) = profile(write_random(tmp_path / "packed"), [texts], threads=2, rounds=1)["workloads"]
    assert workload["operations"]["attention"]["median"] == 3 + 4


def test_the_engine_itself(tmp_path):
    """Its operations add up to no more than its threads had."""
    directory = write_random(tmp_path / "packed")
    began = time.perf_counter()
    (workload,) = profile(directory, [random_workload((4, 16), 101)], threads=2, rounds=3)["workloads"]
    took = time.perf_counter() - began
    medians = [found["median"] for found in workload["operations"].values()]
    assert 0 < sum(medians) < 2 * took
