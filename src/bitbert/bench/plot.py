"""A report as one SVG of plain bars: the longer, the faster. No scripts, no fonts, nothing to install."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from bitbert.bench.contenders import ENGINE
from bitbert.bench.summary import figure

WIDTH, BAR, LEFT = 800, 340, 230  # of the picture, of the longest bar, where bars begin
ROW, HEADING, MARGIN = 24, 40, 16
LONGEST_NAME = 28
OURS, THEIRS, WHISKER, INK = "#0b7a75", "#9aa5b1", "#3e4c59", "#1f2933"


def plot(report: Mapping[str, Any], caption: str) -> str:
    """Bars for each workload, the fastest at full length, with the quartiles as a whisker."""
    ours = {about["name"] for about in report["contenders"] if about["contender"] == ENGINE}
    parts, y = [], MARGIN
    for workload in report["workloads"]:
        parts.append(_text(MARGIN, y + 24, _heading(workload), weight="bold"))
        y += HEADING
        for row in _rows(workload, ours, y):
            parts.append(row)
            y += ROW
    parts.append(_text(MARGIN, y + 18, caption, size=11))
    return _svg(parts, y + HEADING)


def _heading(workload: Mapping[str, Any]) -> str:
    unit = "sequences x tokens" if workload["kind"] == "shape" else f"{workload['sequences']} texts"
    return f"{workload['name']} ({unit})"


def _rows(workload: Mapping[str, Any], ours: set[str], y: int) -> Iterable[str]:
    """A bar for each contender, in their order."""
    fastest = min(time["median"] for time in workload["times"].values())
    for i, (name, time) in enumerate(workload["times"].items()):
        top = y + i * ROW
        length, low, high = (BAR * min(1.0, fastest / time[key]) for key in ("median", "q3", "q1"))
        told = _text(LEFT + max(length, high) + 8, top + 16, _told(workload, time))
        yield "".join(
            (
                _text(LEFT - 8, top + 16, _short(name), anchor="end"),
                f'<rect x="{LEFT}" y="{top + 4}" width="{length:.1f}" height="{ROW - 8}"'
                f' fill="{OURS if name in ours else THEIRS}"/>',
                f'<path d="M{LEFT + low:.1f} {top + 12}H{LEFT + high:.1f}" stroke="{WHISKER}" stroke-width="2"/>',
                told,
            )
        )


def _short(name: str) -> str:
    """As much of a name as fits before the bars."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _told(workload: Mapping[str, Any], time: Mapping[str, Any]) -> str:
    """A time as it is written, and how many times as long it is as that of the first contender."""
    if workload["kind"] == "shape":
        value = f"{figure(1e3 * time['median'])} ms"
    else:
        value = f"{figure(time['sequences_per_second'])} texts/s"
    ratio = time["ratio"]["median"]
    return value if ratio == 1 else f"{value}, {ratio:.2f}x the time"


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal", size: int = 13) -> str:
    style = f'text-anchor="{anchor}" font-weight="{weight}" font-size="{size}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'


def _svg(parts: Iterable[str], height: int) -> str:
    frame = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    background = f'<rect width="{WIDTH}" height="{height}" fill="white"/>'
    return f'{frame} font-family="sans-serif" fill="{INK}">\n' + "\n".join([background, *parts]) + "\n</svg>\n"
