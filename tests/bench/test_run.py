"""The report: who ran and how, who was left out and why, every time taken, ratios to the first."""

import json
from types import SimpleNamespace

import pytest

from bitbert.bench import run as bench_run
from bitbert.bench.contenders import CONTENDERS, FLOAT32, Kind, Setup
from bitbert.bench.rounds import Budget
from bitbert.bench.run import bench, cosine
from bitbert.bench.setups import packed, peer
from bitbert.bench.workload import random_workload, text_workload
from bitbert.errors import ModelError
from support.random_model import random_ids, tiny_config, write_random

pytest.importorskip("bitbert._native", reason="the native engine is not built")

TIME = {"median", "q1", "q3", "ratio", "sequences_per_second", "seconds"}


def workloads():
    texts = random_ids(tiny_config(), [3, 9, 5] * 12)
    return [random_workload((2, 8), 101), text_workload("texts", *texts)]


@pytest.fixture
def absent(monkeypatch):
    """A peer whose library is not installed anywhere."""
    monkeypatch.setitem(CONTENDERS, "absent", Kind("Absent", "absent.Absent", ("no_such_module", "torch")))
    return "absent"


@pytest.fixture
def broken(monkeypatch):
    """A peer of which the worker knows nothing."""
    monkeypatch.setitem(CONTENDERS, "broken", Kind("Broken", "broken.Broken", ()))
    return "broken"


def test_a_report(tmp_path):
    ours = [packed(write_random(tmp_path / name), 1) for name in ("one", "two")]
    said = []
    report = bench(ours, workloads(), Budget(4), lambda *what: said.append(what))
    assert json.loads(json.dumps(report)) == report
    assert set(report) == {"threads", "machine", "contenders", "left_out", "workloads"}
    assert (report["threads"], report["left_out"]) == (1, [])
    shape, texts = report["workloads"]
    assert (shape["name"], shape["kind"], shape["sequences"], shape["tokens"]) == ("2x8", "shape", 2, 16)
    assert (texts["name"], texts["kind"], texts["sequences"], texts["batches"]) == ("texts", "texts", 36, 2)
    for workload in report["workloads"]:
        assert list(workload["times"]) == ["one", "two"]
        for time in workload["times"].values():
            assert set(time) == TIME
            assert len(time["seconds"]) == workload["rounds"] == 4
            assert min(time["seconds"]) <= time["q1"] <= time["median"] <= time["q3"] <= max(time["seconds"])
            assert time["sequences_per_second"] == pytest.approx(workload["sequences"] / time["median"])
        assert workload["times"]["one"]["ratio"] == {"median": 1, "q1": 1, "q3": 1}
    assert [what for what, *_ in said][:4] == ["building one", "building two", "warming up 2x8", "2x8"]


def test_contenders_say_what_they_are(tmp_path):
    directory = write_random(tmp_path / "mine")
    (about,) = bench([packed(directory, 1)], workloads()[:1], Budget(1))["contenders"]
    assert (about["name"], about["contender"], about["weights"]) == ("mine", "bitbert", "mine")
    assert about["how"].startswith("no padding, ")
    assert (about["sizes"]["hidden_size"], about["spec"]["leftovers"]) == (64, "float16")
    assert str(directory.parent) not in json.dumps(about)


def test_the_machine_is_named_and_nothing_else_of_it(tmp_path):
    machine = bench([packed(write_random(tmp_path / "packed"), 1, isa="scalar")], workloads()[:1], Budget(1))["machine"]
    assert set(machine) == {"cpu", "cpus", "isa", "system", "python", "versions"}
    assert machine["isa"] == "scalar"
    assert {"bitbert", "numpy"} <= set(machine["versions"])


def test_who_is_not_installed_is_named_and_the_others_run(tmp_path, absent):
    ours = packed(write_random(tmp_path / "packed"), 1)
    report = bench([ours, peer(absent, ours)], workloads()[:1], Budget(1))
    reason = "no_such_module not installed: pip install 'bitbert[bench]'"
    assert report["left_out"] == [{"name": "Absent", "reason": reason}]
    assert list(report["workloads"][0]["times"]) == ["packed"]


def test_who_cannot_be_built_is_named_and_the_others_run(tmp_path, broken):
    ours = packed(write_random(tmp_path / "packed"), 1)
    report = bench([ours, peer(broken, ours)], workloads()[:1], Budget(1))
    assert report["left_out"] == [{"name": "Broken", "reason": "KeyError: 'broken'"}]
    assert [about["name"] for about in report["contenders"]] == ["packed"]


def test_who_fails_later_is_named_and_keeps_the_times_it_has(tmp_path, monkeypatch):
    """A peer that breaks on the second workload, played by the engine under another name."""
    monkeypatch.setattr(bench_run, "ENGINE", "nobody")
    load = bench_run.Process.load

    def failing(process, workload):
        if (process.name, workload.name) == ("second", "1x4"):
            raise bench_run.RacerError("out of memory")
        load(process, workload)

    monkeypatch.setattr(bench_run.Process, "load", failing)
    both = [packed(write_random(tmp_path / name), 1) for name in ("first", "second")]
    report = bench(both, [workloads()[0], random_workload((1, 4), 101)], Budget(1))
    assert report["left_out"] == [{"name": "second", "reason": "out of memory"}]
    assert [list(workload["times"]) for workload in report["workloads"]] == [["first", "second"], ["first"]]


def test_without_bitbert_there_is_nothing_to_compare(tmp_path):
    directory = write_random(tmp_path / "packed")
    ours = packed(directory, 1)
    (directory / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"packed: .*model\.safetensors: cannot be read"):
        bench([ours], workloads()[:1], Budget(1))


def test_answers_are_compared_with_float32_of_the_same_weights():
    def runner(name, contender, floats=None, **sizes):
        return SimpleNamespace(name=name, setup=Setup(name, contender, tiny_config(**sizes), 1, floats=floats))

    field = bench_run._Field(lambda *_: None)
    field.racing = [
        runner("float", FLOAT32),
        runner("int8", "openvino"),
        runner("int8 of another size", "openvino", num_hidden_layers=1),
        runner("int8 with given weights", "openvino", "trained"),
        runner("packed", "bitbert"),
        runner("packed from what is given", "bitbert", "trained"),
    ]
    field.built = {one.name: {"cosine_to_float32": None} for one in field.racing}
    answers = {one.name: [[1.0, 0.0]] for one in field.racing}
    field._compare(answers | {"int8": [[1.0, 1.0]]})
    field._compare(answers)  # the lowest so far is kept
    cosines = {name: about["cosine_to_float32"] for name, about in field.built.items()}
    assert cosines.pop("int8") == pytest.approx(0.5**0.5, abs=1e-6)
    assert set(cosines.values()) == {None}


def test_cosine_is_the_mean_over_rows():
    assert cosine([[1.0, 0.0], [0.0, 1.0]], [[3.0, 0.0], [1.0, 0.0]]) == 0.5
