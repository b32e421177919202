"""`bitbert search` on a tiny model, and every mistake in one line."""

import json
from pathlib import Path

import pytest

from bitbert.spec import read_spec, weight_names

pytest.importorskip("bitbert._native", reason="the native engine is not built")
pytestmark = pytest.mark.usefixtures("one_thread")


def test_under_bytes(run, classifier, reviews):
    result = run(
        "search", classifier, "--budget-mib", "0.0135", "--texts", "32", "--train-file", reviews, "-o", "found"
    )
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines() if line.strip()]
    assert lines[0] == ["row", "groups", "at", "0", "bits", "2", "bits", "4", "bits", "8", "bits"]
    assert [line[:-4] for line in lines[2:9]] == [
        *(["attention", part] for part in ("query", "key", "value", "output")),
        *([part] for part in ("intermediate", "output", "pooler")),
    ]
    assert "of 0.0135 MiB" in result.stdout
    assert result.stderr.splitlines()[-1] == f"bitbert quantize {classifier} --spec found/spec.json -o found-packed"


def test_under_milliseconds_as_json(run, classifier, reviews):
    budget = ("--budget-ms", "1000", "--shape", "1x8", "--threads", "1")
    result = run("search", classifier, *budget, "--texts", "32", "--train-file", reviews, "-o", "found", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["predicted"]["average_bits"] > 7  # there is time for everything that is of use
    assert report["measured"]["ms"] > 0
    assert report["budget"] == {"unit": "ms", "limit": 1000}


def test_binary_tables_beside_searched_matrices(run, classifier, reviews):
    how = ("--average-bits", "4", "--embedding-bits", "1", "--texts", "32")
    result = run("search", classifier, *how, "--train-file", reviews, "-o", "found", "--json")
    assert result.exit_code == 0, result.output
    spec = read_spec(Path("found") / "spec.json")
    table, matrix = (spec.weight(name) for name in weight_names(1, pooler=True)[:4:3])
    assert (table.bits, table.method) == (1, "binary")
    assert set(matrix.all_bits) <= {0, 2, 4, 8}
    assert matrix.method == "learned_range"


def test_aq_with_a_setting(run, classifier, reviews):
    how = ("--method", "aq", "--set", "epochs=1", "--set", "batch_size=60", "--average-bits", "2.47")
    result = run("search", classifier, *how, "--train-file", reviews, "-o", "found", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert 0.9 * 2.47 <= report["predicted"]["average_bits"] <= 2.47  # a tiny model has no finer steps
    assert report["aq"]["batch_size"] == 60


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "0 budgets are given: expected one of --budget-mib, --average-bits, --budget-ms"),
        (["--budget-mib", "1", "--average-bits", "2"], "2 budgets are given"),
        (["--budget-mib", "0.001"], "a budget of 0.001 MiB cannot be met, the smallest possible is 0.0"),
        (["--budget-mib", "9"], "a budget of 9 MiB needs no search"),
        (["--average-bits", "2", "--choices", "2,x"], "--choices '2,x': expected widths with commas"),
        (["--average-bits", "2", "--choices", "2,9"], "9 bits are not supported, expected 0 to 8"),
        (["--average-bits", "2", "--set", "epoch=1"], "unknown setting 'epoch', expected one of: epochs,"),
        (["--average-bits", "2", "--set", "epochs=few"], "'few' is not a number"),
        (["--average-bits", "2", "--recipe", "gone"], "no recipe 'gone'"),
        (
            ["--average-bits", "2", "--embedding-bits", "1", "--recipe", "kdlsq"],
            "method 'learned_range' gives 2 to 8 bits, not 1",
        ),
        (["--budget-ms", "1", "--shape", "wide"], "'wide' is not a shape"),
    ],
)
def test_mistakes(fails, classifier, reviews, options, reason):
    assert reason in fails("search", classifier, *options, "--train-file", reviews, "-o", "found")


def test_an_output_that_exists(fails, classifier, reviews, tmp_path):
    (tmp_path / "found").mkdir()
    assert "--overwrite" in fails("search", classifier, "--average-bits", "2", "--train-file", reviews, "-o", "found")
