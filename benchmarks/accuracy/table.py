"""The Markdown tables in `README.md`, from the JSON files in `results/`. Nothing is measured here.

python benchmarks/accuracy/table.py
"""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bitbert.bench.records import put_between

HERE = Path(__file__).parent
COMPARISONS = HERE / "comparisons.json"
CORE: dict[str, int | None] = {"sst2": 16_000, "mrpc": None, "stsb": None}  # and rows of train; None: all
HOUSE_COLUMNS = ("bits", "MiB", *CORE, "mean drop")
PAIR_COLUMNS = ("bits", "ours", "theirs", "tasks", "difference (95 %)", "verdict")
# What the papers claim, as a comparison: (claim, the better one, the other, width).
CLAIMS = (
    (
        "two stages make better ternary weights than one (TWN), without augmentation",
        "two-stage",
        "one-stage-ternary",
        "w2a8",
    ),
    ("two stages make better binary weights than one, in as many steps", "two-stage-binary", "direct-binary", "w1a8"),
    ("q8bert, trained, is better than its dynamic form", "q8bert", "q8bert-dynamic", "w8a8"),
    ("4 bits everywhere: the house recipe holds where mkq fails", "w4a4", "mkq", "w4a4"),
    (
        "aq on a model that is distilled already, 2.47 bits: better than the best of random mixes",
        "aq 2.47",
        "random 2.47",
        "w2a8",
    ),
    (
        "aq on a model that is distilled already, 1.97 bits: better than the best of random mixes",
        "aq 1.97",
        "random 1.97",
        "w2a8",
    ),
)
MKQ_CLAIM, MKQ_DROP = "mkq with half of its layers at 4 bits loses at most 1.0", 1.0
CLAIM_COLUMNS = ("claim", "measured", "tasks", "verdict")
START, END = "<!-- table -->", "<!-- end of table -->"
TASKS = ("sst2", "mrpc", "stsb", "qnli", "squad", "cola", "wnut17")
COLUMNS = (
    "task, metric",
    "recipe",
    "bits",
    "train rows",
    "steps",
    "seeds",
    "float32",
    "engine",
    "drop",
    "labels as trained",
    "MiB (float32)",
    "minutes",
)


def rows(results: Sequence[dict[str, Any]]) -> list[str]:
    """One line for each task, teacher, method, width and part of train; seeds are put together."""
    groups = itertools.groupby(sorted(results, key=_order), key=_order)
    return [_line(_row(list(group))) for _, group in groups]


def _order(result: dict[str, Any]) -> tuple[Any, ...]:
    task = result["task"]
    place = TASKS.index(task) if task in TASKS else len(TASKS)
    widths = [-int(bits) for bits in result["bits"].removeprefix("w").split("a")]  # the widest first
    mixed = result.get("widths") or "", result.get("average_bits") or 0.0
    method = *mixed, result["recipe"], result["settings"], steps(result)
    method = *method, result["train_rows"], result["teacher"]["sha256"]
    return place, task, *widths, *method


def _row(seeds: Sequence[dict[str, Any]]) -> Iterable[str]:
    first = seeds[0]
    agreements = [result["agreement"] for result in seeds if result["agreement"] is not None]
    sizes = first["bytes"]
    return (
        f"{first['task']}, {first['metric']}",
        " ".join([first["recipe"], *first["settings"]]),
        _width(first),
        f"{first['train_rows']:,}",
        f"{steps(first):,}",
        ", ".join(str(seed) for seed in sorted(result["seed"] for result in seeds)),
        f"{first['teacher_score']:.2f}",
        _spread([result["score"] for result in seeds]),
        _spread([result["drop"] for result in seeds]),
        f"{min(agreements):.2f} %" if agreements else "",
        f"{sizes['model.safetensors'] / 2**20:.2f} ({sizes['float32_parameters'] / 2**20:.2f})",
        f"{statistics.mean(result['minutes'] for result in seeds):.0f}",
    )


def steps(result: dict[str, Any]) -> int:
    """Optimizer steps of all stages."""
    return sum(stage["steps"] for stage in result["stages"])


def method_of(result: dict[str, Any]) -> str:
    """The recipe, or how its mixed widths were found."""
    return f"{result['widths']} {result['average_bits']}" if result.get("widths") else str(result["recipe"])


def _width(result: dict[str, Any]) -> str:
    if not result.get("widths"):
        return str(result["bits"])
    return f"{result['search']['predicted']['average_bits']:.2f} ({result['widths']}), {result['bits'][2:]}"


def _spread(values: Sequence[float]) -> str:
    """Mean, and the range where there is more than one value: with three seeds a deviation would say less.

    >>> _spread([90.0, 91.0, 92.0])
    '91.00 (90.00 to 92.00)'
    """
    mean = f"{statistics.mean(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.2f} to {max(values):.2f})"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def metric_of(task: str, main_metric: str) -> str:
    """What counts where tasks are put together: MRPC's accuracy, not its mean with F1."""
    return "accuracy" if task == "mrpc" else main_metric


def house(results: Sequence[dict[str, Any]]) -> list[str]:
    """One line for each width: what the house recipe loses, mean over seeds, on each core task and over all of them."""
    lines = []
    for bits in dict.fromkeys(result["bits"] for result in sorted(results, key=_order)):
        cells = [r for r in results if r["recipe"] == r["bits"] == bits and not r.get("widths")]
        drops = {task: [_drop(cell) for cell in cells if cell["task"] == task] for task in CORE}
        if all(drops.values()):
            means = [statistics.mean(values) for values in drops.values()]
            size = cells[0]["bytes"]["model.safetensors"] / 2**20
            parts = [_spread(values) for values in drops.values()]
            lines.append(_line([bits, f"{size:.2f}", *parts, f"{statistics.mean(means):.2f}"]))
    return lines


def _drop(result: dict[str, Any]) -> float:
    scores = result["splits"][result["scored_on"]]
    metric = metric_of(result["task"], result["metric"])
    return float(scores["float32"][metric] - scores[metric])


def compared(pairs: Iterable[dict[str, Any]]) -> list[str]:
    """One line for each comparison."""
    return [
        _line(
            [
                pair["bits"],
                pair["ours"],
                pair["theirs"],
                ", ".join(pair["tasks"]),
                _difference(pair),
                pair["verdict"],
            ]
        )
        for pair in pairs
        if pair["tasks"]
    ]


def claims(results: Sequence[dict[str, Any]], pairs: Iterable[dict[str, Any]]) -> list[str]:
    """One line for each claim, with the verdict."""
    measured = {(pair["ours"], pair["theirs"], pair["bits"]): pair for pair in pairs if pair["tasks"]}
    verdicts = {"better": "holds", "worse": "the other way round"}
    lines = []
    for claim, *which in CLAIMS:
        if pair := measured.get(tuple(which)):
            verdict = verdicts.get(pair["verdict"], pair["verdict"])
            lines.append(_line([claim, _difference(pair), ", ".join(pair["tasks"]), verdict]))
    half = [r for r in results if (r["recipe"], r["bits"], r["settings"]) == ("mkq", "w8a8", []) and r["task"] in CORE]
    if half:
        drop = statistics.mean(_drop(cell) for cell in half)
        tasks = ", ".join(task for task in CORE if task in {cell["task"] for cell in half})
        lines.append(_line([MKQ_CLAIM, f"drop {drop:.2f}", tasks, "holds" if drop <= MKQ_DROP else "does not hold"]))
    return lines


def _difference(pair: dict[str, Any]) -> str:
    return f"{pair['difference']:+.2f} ({pair['interval'][0]:+.2f} to {pair['interval'][1]:+.2f})"


def write_table(readme: Path = HERE / "README.md", results: Path = HERE / "results") -> None:
    """Put the table between its marks in `readme`."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))]
    put_between(readme, START, _table(COLUMNS, rows(found)), END)
    put_between(readme, "<!-- house -->", _table(HOUSE_COLUMNS, house(found)), "<!-- end of house -->")
    if COMPARISONS.exists():
        pairs = json.loads(COMPARISONS.read_text(encoding="utf-8"))["pairs"]
        put_between(readme, "<!-- claims -->", _table(CLAIM_COLUMNS, claims(found, pairs)), "<!-- end of claims -->")
        put_between(readme, "<!-- pairs -->", _table(PAIR_COLUMNS, compared(pairs)), "<!-- end of pairs -->")


def _table(columns: Sequence[str], lines: Iterable[str]) -> str:
    return "\n".join([_line(columns), _line("---" for _ in columns), *lines])


if __name__ == "__main__":
    write_table()
