"""Accuracy against size, and against time, of one task's cells, as one SVG. Needs matplotlib.

    python benchmarks/accuracy/plot.py --task sst2

Size is that of model.safetensors; times are those of `latency.py`, where there are some.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import matplotlib
from latency import TIMES
from run import RESULTS
from table import method_of

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "bitbert"  # the same figures give the same file
from matplotlib import pyplot  # noqa: E402

COLOURS = {"house": "#0b7a75", "papers": "#c2571a", "searched": "#5b4b8a"}
HEIGHT, WIDTH = 4.5, 5.5  # inches, of one panel


def kind(result: dict[str, Any]) -> str:
    if result.get("widths"):
        return "searched"
    return "house" if result["recipe"] == result["bits"] else "papers"


def label(result: dict[str, Any]) -> str:
    return f"{method_of(result)} {result['bits']}" if kind(result) == "papers" else method_of(result)


def panel(axes: Any, results: list[dict[str, Any]], places: list[float], title: str) -> None:
    axes.axhline(results[0]["teacher_score"], color="grey", linewidth=0.8, linestyle="--")
    axes.text(1, results[0]["teacher_score"], "float32 ", ha="right", va="bottom", transform=axes.get_yaxis_transform())
    for result, x in zip(results, places, strict=True):
        axes.plot(x, result["score"], "o", color=COLOURS[kind(result)], markersize=4)
        axes.annotate(label(result), (x, result["score"]), (4, 3), textcoords="offset points", fontsize=6)
    axes.set_xscale("log")
    axes.set_xlabel(title)
    axes.set_ylabel(f"{results[0]['task']}, {results[0]['metric']}")
    axes.grid(alpha=0.3, which="both")


def load(task: str) -> list[dict[str, Any]]:
    """The cells of the table's first seed; of those with other settings none, as they differ in budget."""
    paths = sorted(RESULTS.glob(f"{task}-*-s1.json"))
    found = [json.loads(path.read_text(encoding="utf-8")) | {"name": path.stem} for path in paths]
    rows = max(result["train_rows"] for result in found if result["recipe"] == result["bits"])
    return [result for result in found if result["train_rows"] == rows or result["calibrate_only"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="sst2")
    parser.add_argument("--output", type=Path, default=RESULTS.parent / "accuracy.svg")
    options = parser.parse_args()
    results = load(options.task)
    panels = [("MiB of model.safetensors", [r["bytes"]["model.safetensors"] / 2**20 for r in results], results)]
    if TIMES.exists():
        measured = json.loads(TIMES.read_text(encoding="utf-8"))
        for shape, times in measured["times"].items():
            timed = [r for r in results if r["name"] in times]
            title = f"ms for {shape} tokens, {measured['threads']} threads"
            panels.append((title, [times[r["name"]] for r in timed], timed))
    figure, axes = pyplot.subplots(1, len(panels), figsize=(WIDTH * len(panels), HEIGHT), squeeze=False)
    for place, (title, x, shown) in zip(itertools.chain(*axes), panels, strict=True):
        panel(place, shown, x, title)
    figure.tight_layout()
    figure.savefig(options.output, metadata={"Date": None})


if __name__ == "__main__":
    main()
