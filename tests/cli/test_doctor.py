"""`bitbert doctor`: what it says is what runs, and a problem has its own line and exit code."""

import json
import sys
from importlib import metadata

import pytest

import bitbert


def examine(run):
    result = run("doctor", "--json")
    return result.exit_code, json.loads(result.stdout)


def test_a_healthy_machine(run, monkeypatch):
    engine = pytest.importorskip("bitbert.runtime.engine", reason="the native engine is not built")
    monkeypatch.delenv("BITBERT_ISA", raising=False)
    code, report = examine(run)
    assert (code, report["problems"]) == (0, [])
    assert report["chosen"] == engine.choose_isa()
    assert report["chosen"] in report["instruction_sets"]
    assert "scalar" in report["instruction_sets"]
    assert report["versions"]["numpy"] == metadata.version("numpy")
    assert report["bitbert"] == bitbert.__version__
    assert "All is well." in run("doctor").stdout


def test_a_forced_instruction_set_is_the_one_that_runs(run, monkeypatch):
    pytest.importorskip("bitbert._native", reason="the native engine is not built")
    monkeypatch.setenv("BITBERT_ISA", "scalar")
    assert examine(run)[1]["chosen"] == "scalar"


def test_one_that_this_cpu_lacks_is_a_problem(run, monkeypatch):
    pytest.importorskip("bitbert._native", reason="the native engine is not built")
    monkeypatch.setenv("BITBERT_ISA", "abacus")
    code, report = examine(run)
    assert code == 2
    assert "BITBERT_ISA: instruction set 'abacus' cannot run" in report["problems"][0]
    assert "problem: BITBERT_ISA" in run("doctor").stdout


def test_a_missing_engine_is_a_problem(run, monkeypatch):
    monkeypatch.delattr(bitbert, "_native", raising=False)
    monkeypatch.setitem(sys.modules, "bitbert._native", None)
    code, report = examine(run)
    assert code == 2
    assert "the native engine cannot be loaded" in report["problems"][0]
    assert "reinstall bitbert" in run("doctor").stdout
