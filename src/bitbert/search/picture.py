"""Widths as a picture: a row for each layer, a strip for each matrix, in it a field for each row group. Plain SVG."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from html import escape

from bitbert.search.space import Bits, Space
from bitbert.spec import MAX_BITS

STRIP, GAP, HEIGHT, LEFT, MARGIN = 150, 10, 18, 80, 16  # pixels
ROW = HEIGHT + 8
PRUNED, LIGHT, DARK, INK = "#ffffff", (222, 235, 233), (4, 60, 57), "#1f2933"
MATRICES = {
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "attention output",
    "intermediate.dense": "intermediate",
    "output.dense": "output",
}


def picture(space: Space, bits: Bits, caption: str) -> str:
    """The SVG; `bits` (items). Row groups go from left to right, widths from light to dark, pruned ones are white."""
    parts = [_text(LEFT + i * (STRIP + GAP), MARGIN + 12, name) for i, name in enumerate(MATRICES.values())]
    y = MARGIN + ROW
    for layer in range(space.architecture.num_hidden_layers):
        names = [f"encoder.layer.{layer}.{matrix}.weight" for matrix in MATRICES]
        parts += [_text(MARGIN, y + 13, f"layer {layer}"), *_strips(space, bits, names, y)]
        y += ROW
    others = [name for name in space.slices if not name.startswith("encoder.")]
    for name in others:
        label = re.sub(r"(embeddings\.|_embeddings|\.dense|\.weight)", "", name).replace("_", " ")
        parts += [_text(MARGIN, y + 13, label), *_strips(space, bits, [name], y)]
        y += ROW
    parts += [*_legend(space, bits, y + 8), _text(MARGIN, y + 54, caption)]
    return _svg(parts, LEFT + len(MATRICES) * (STRIP + GAP) + MARGIN, y + 54 + MARGIN)


def _strips(space: Space, bits: Bits, names: Sequence[str], y: int) -> Iterable[str]:
    for i, name in enumerate(names):
        yield from _strip(bits[space.slices[name]].tolist(), LEFT + i * (STRIP + GAP), y)


def _strip(bits: Sequence[int], x: int, y: int) -> Iterable[str]:
    """Neighbours of one width are one field."""
    field, at = STRIP / len(bits), 0
    for width, run in itertools.groupby(bits):
        count = len(list(run))
        title = f"<title>{width} bits, row groups {at} to {at + count - 1}</title>"
        yield _field(x + at * field, y, count * field, width, title)
        at += count
    yield _frame(x, y, STRIP)


def _field(x: float, y: float, width: float, bits: int, inside: str = "") -> str:
    return f'<rect x="{x:.2f}" y="{y}" width="{width:.2f}" height="{HEIGHT}" fill="{_colour(bits)}">{inside}</rect>'


def _frame(x: float, y: float, width: float) -> str:
    return f'<rect x="{x}" y="{y}" width="{width}" height="{HEIGHT}" fill="none" stroke="{INK}" stroke-width="0.5"/>'


def _colour(bits: int) -> str:
    if bits == 0:
        return PRUNED
    mixed = [round(a + (b - a) * bits / MAX_BITS) for a, b in zip(LIGHT, DARK, strict=True)]
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def _legend(space: Space, bits: Bits, y: int) -> Iterable[str]:
    """A field for each width, with the share of all searched weights that have it."""
    pitch = min(STRIP + GAP, len(MATRICES) * (STRIP + GAP) // len(space.choices))
    for i, width in enumerate(space.choices):
        x, share = LEFT + i * pitch, space.weights[bits == width].sum() / space.weights.sum()
        name = "pruned" if width == 0 else f"{width} bit{'s' * (width > 1)}"
        yield _field(x, y, HEIGHT, width) + _frame(x, y, HEIGHT)
        yield _text(x + HEIGHT + 6, y + 13, f"{name} {100 * share:.1f} %")


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x}" y="{y}" font-size="12">{escape(text)}</text>'


def _svg(parts: Iterable[str], width: int, height: int) -> str:
    frame = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    background = f'<rect width="{width}" height="{height}" fill="white"/>'
    return f'{frame} font-family="sans-serif" fill="{INK}">\n' + "\n".join([background, *parts]) + "\n</svg>\n"
