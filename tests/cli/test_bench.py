"""`bitbert bench`: tables, JSON and picture of what was timed; who is left out is named; wrong input is one line."""

import json
import subprocess
import sys

import pytest

import bitbert
from bitbert.bench.contenders import CONTENDERS, PEERS, Kind
from bitbert.spec import QuantSpec

engine = pytest.importorskip("bitbert.runtime.engine", reason="the native engine is not built")

ALONE = ("--peers", "none", "--rounds", 3, "--threads", 1)


@pytest.fixture
def no_peers(monkeypatch):
    """A machine on which nothing else is installed."""
    for name in PEERS:
        kind = CONTENDERS[name]
        monkeypatch.setitem(CONTENDERS, name, Kind(kind.title, kind.home, ("no_such_module",)))


def report(result):
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_tables(run, pack):
    pack("one")
    pack("two", spec=QuantSpec.uniform(4, 8))
    result = run("bench", "one", "two", "--shapes", "1x4,2x8", *ALONE)
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines() if line.strip()]
    assert ["ms", "per", "batch", "1x4", "2x8"] in rows
    assert ["times", "as", "long", "as", "one", "1x4", "2x8"] in rows
    assert ["rounds", "3", "3"] in rows
    (times,) = [row for row in rows if row[0] == "one"]
    assert [float(times[i].strip("()")) > 0 for i in (1, 2, 4, 5, 6, 8)] == [True] * 6
    assert f"1 thread, bitbert {bitbert.__version__}" in result.stdout
    assert "random weights" not in result.stdout  # since no peer ran


def test_json(run, pack):
    found = report(run("bench", pack("mine"), "--shapes", "1x4", *ALONE, "--isa", "scalar", "--json"))
    (workload,) = found["workloads"]
    assert (workload["name"], workload["rounds"], list(workload["times"])) == ("1x4", 3, ["mine"])
    assert found["machine"]["isa"] == "scalar"
    assert found["contenders"][0]["how"] == "no padding, scalar"


def test_every_missing_peer_is_named(run, pack, no_peers):
    arguments = ("bench", pack(), "--shapes", "1x4", "--rounds", 1, "--threads", 1)
    left_out = report(run(*arguments, "--json"))["left_out"]
    assert [one["name"] for one in left_out] == [CONTENDERS[name].title for name in PEERS]
    shown = run(*arguments).stdout
    for one in left_out:
        assert f"left out: {one['name']}: no_such_module not installed: pip install 'bitbert[bench]'" in shown


def test_texts_at_their_lengths(run, pack, tmp_path):
    (tmp_path / "films.csv").write_text("body\n" + "a good film\nbad\n" * 20)
    arguments = ("bench", pack(), "--texts", "films.csv", "--text-column", "body", *ALONE)
    (workload,) = report(run(*arguments, "--json"))["workloads"]
    assert (workload["name"], workload["kind"], workload["sequences"], workload["batches"]) == ("films", "texts", 40, 2)
    assert workload["tokens"] == 20 * (5 + 3)
    assert "texts per second" in run(*arguments).stdout
    both = report(run(*arguments, "--shapes", "1x4", "--json"))["workloads"]
    assert [workload["kind"] for workload in both] == ["shape", "texts"]


def test_texts_as_lines(run, pack, tmp_path):
    (tmp_path / "lines.txt").write_text("a good film\nbad\n")
    (workload,) = report(run("bench", pack(), "--texts", "lines.txt", *ALONE, "--json"))["workloads"]
    assert workload["sequences"] == 2


def test_the_picture(run, pack, tmp_path):
    result = run("bench", pack(), "--shapes", "1x4", *ALONE, "--plot", "speed.svg")
    assert result.stderr == "speed.svg is written.\n"
    assert (tmp_path / "speed.svg").read_text().startswith("<svg ")


def test_the_profile(run, pack, monkeypatch):
    times = {"attention": 0.001, "ffn": 0.003}
    monkeypatch.setattr(engine.Engine, "profile", lambda self, ids, types, output, threads: times)
    result = run("bench", pack(), "--profile", "--shapes", "1x4", "--rounds", 2)
    rows = [line.split() for line in result.stdout.splitlines() if line.strip()]
    assert ["attention", "1.000", "25.0", "%"] in rows
    assert ["all", "4.000", "100", "%"] in rows
    found = report(run("bench", "packed", "--profile", "--shapes", "1x4", "--rounds", 2, "--json"))
    assert found["workloads"][0]["operations"]["ffn"]["median"] == 0.003


def test_torch_is_not_imported(pack):
    arguments = ["bench", str(pack()), "--shapes", "1x4", *map(str, ALONE)]
    code = (
        "import sys; from typer.testing import CliRunner; from bitbert.cli.__main__ import app\n"
        f"assert CliRunner().invoke(app, {arguments!r}).exit_code == 0\n"
        "assert not {'torch', 'transformers', 'onnxruntime', 'openvino'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- wrong input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--shapes", "1x"], "'1x' is not a shape: expected BxT"),
        ([], "shape 1x128 is not possible: expected 1 or more sequences of 1 to 40 tokens"),
        (["--peers", "tensorrt"], "unknown peer 'tensorrt', expected all, none, or some of: torch-fp32"),
        (["--isa", "abacus"], "'abacus' cannot run"),
        (["--texts", "gone.csv"], "gone.csv: no such file"),
        (["--float", "gone"], "gone is no float checkpoint"),
        (["--profile", "--plot", "p.svg"], "give one of them"),
        (["--plot", "gone/p.svg"], "gone/p.svg cannot be written: gone is not a directory"),
    ],
)
def test_arguments_that_cannot_be(fails, pack, arguments, reason):
    assert reason in fails("bench", pack(), *arguments)


def test_no_such_model(fails):
    assert "nowhere is not a directory" in fails("bench", "nowhere")


def test_models_of_different_shapes(fails, pack):
    pack("one")
    pack("two", num_hidden_layers=1)
    assert "two has num_hidden_layers 1, but one has 2" in fails("bench", "one", "two")


def test_a_file_without_texts(fails, pack, tmp_path):
    (tmp_path / "t.txt").write_text("")
    assert fails("bench", pack(), "--texts", "t.txt") == "t.txt: there are no texts"


def test_a_profile_is_of_one_model(fails, pack):
    pack("one")
    pack("two")
    assert "give one" in fails("bench", "one", "two", "--profile", "--shapes", "1x4")
