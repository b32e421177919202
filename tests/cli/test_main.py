"""The command line as a whole: help, version, exit codes, and that it stays light."""

import importlib
import os
import signal
import subprocess
import sys
import time

import pytest

import bitbert
from bitbert.cli.__main__ import COMMANDS
from bitbert.errors import BitbertError

RUN = [sys.executable, "-m", "bitbert"]
COLUMNS = {**os.environ, "COLUMNS": "120", "NO_COLOR": "1"}


def test_version(run):
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"bitbert {bitbert.__version__}\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(run, command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Examples:" in result.stdout
    assert f"bitbert {command}" in result.stdout.split("Examples:")[1]
    assert command in run("--help").stdout


def test_help_is_quick_and_imports_nothing_heavy():
    started = time.perf_counter()
    subprocess.run([*RUN, "--help"], check=True, capture_output=True)
    assert time.perf_counter() - started < 5  # half a second where nothing else runs
    heavy = "torch", "transformers", "datasets", "numpy", "sklearn", "bitbert.runtime.model"
    code = (
        "import sys; from typer.testing import CliRunner; from bitbert.cli.__main__ import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        f"assert not [m for m in {heavy!r} if m in sys.modules], sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["predict"], ["doctor", "--nonsense"], ["evaluate", "m", "--threads", "0"]]
)
def test_wrong_usage_ends_with_2(run, arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""


def broken(monkeypatch, error):
    def fail(*args):
        raise error

    monkeypatch.setattr(importlib.import_module("bitbert.cli.doctor"), "examine", fail)


def test_a_users_mistake_is_one_line(fails, monkeypatch):
    broken(monkeypatch, BitbertError("this\nis wrong"))
    assert fails("doctor") == "this is wrong"


def test_debug_shows_the_traceback(run, monkeypatch):
    broken(monkeypatch, BitbertError("this is wrong"))
    result = run("--debug", "doctor")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert result.stderr.endswith("error: this is wrong\n")


def test_a_missing_extra_says_what_to_install(fails, monkeypatch):
    broken(monkeypatch, ModuleNotFoundError("No module named 'torch'", name="torch"))
    assert fails("doctor") == "this command needs torch: run pip install 'bitbert[train]'"


def test_a_fault_of_ours_keeps_its_traceback(run, monkeypatch):
    broken(monkeypatch, ZeroDivisionError("ours"))
    result = run("doctor")
    assert result.exit_code == 1
    assert isinstance(result.exception, ZeroDivisionError)


def test_ctrl_c_ends_with_130(pack):
    pytest.importorskip("bitbert._native", reason="the native engine is not built")
    process = subprocess.Popen(
        [*RUN, "predict", str(pack()), "--batch-size", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell's background jobs ignore the signal, and so would what they start: the tests may be such a job.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    process.stdin.write(b"a good film\n")
    process.stdin.flush()
    process.stdout.readline()  # it is up and waits for the next line
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, b"interrupted\n")


def test_the_installed_command_is_this_one():
    result = subprocess.run([*RUN, "doctor", "--json", "--nonsense"], capture_output=True, text=True, env=COLUMNS)
    assert result.returncode == 2
    assert "--nonsense" in result.stderr
