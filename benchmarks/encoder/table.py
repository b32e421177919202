"""The Markdown tables in `README.md`, from the JSON files in `results/`. Nothing is measured here.

python benchmarks/encoder/table.py
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bitbert.bench.records import put_between
from bitbert.bench.summary import figure

HERE = Path(__file__).parent
START, END = "<!-- tables -->", "<!-- end of tables -->"


def tables(result: Mapping[str, Any]) -> str:
    """A heading, the times of every contender, and of the case `layer` what one layer takes."""
    machine = result["machine"]
    heading = f"### {result['case']}, {_threads(result['threads'])}, {machine['cpu']}"
    names = [about["name"] for about in result["contenders"]]
    parts = [heading, _about(result), _table(_unit(result), result["workloads"], names)]
    if by_layer := result.get("layer"):
        columns = [{"name": name, "kind": "shape", "times": times} for name, times in by_layer.items()]
        parts.append(_table("one layer, ms", columns, list(columns[0]["times"])))
    return "\n\n".join(parts)


def _about(result: Mapping[str, Any]) -> str:
    left_out = [f"Left out: {one['name']} ({one['reason']})." for one in result["left_out"]]
    commit, changed, _ = result["commit"].partition("+")
    return " ".join([f"`{result['command']}` at {commit[:12]}{', changed' if changed else ''}.", *left_out])


def _unit(result: Mapping[str, Any]) -> str:
    return "ms" if result["workloads"][0]["kind"] == "shape" else "texts per second"


def _table(title: str, workloads: list[Mapping[str, Any]], names: list[str]) -> str:
    rows = [[name, *(_cell(workload, name) for workload in workloads)] for name in names]
    head = [title, *(workload["name"] for workload in workloads)]
    return "\n".join(map(_line, [head, ["---"] * len(head), *rows]))


def _cell(workload: Mapping[str, Any], name: str) -> str:
    """The median, with the quartiles behind it."""
    if name not in workload["times"]:
        return ""
    median, q1, q3 = (workload["times"][name][key] for key in ("median", "q1", "q3"))
    if workload["kind"] == "texts":
        median, q1, q3 = (workload["sequences"] / seconds for seconds in (median, q3, q1))
    else:
        median, q1, q3 = (1e3 * seconds for seconds in (median, q1, q3))
    return f"{figure(median)} ({figure(q1)} to {figure(q3)})"


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def write_tables(readme: Path = HERE / "README.md", results: Path = HERE / "results") -> None:
    """Put the tables between their marks in `readme`."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))]
    text = "\n\n".join(map(tables, found))
    put_between(readme, START, f"\n{text}\n", END)


if __name__ == "__main__":
    write_tables()
