"""The picture is well-formed SVG whose fields have the areas of the widths they stand for."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from bitbert.search.picture import STRIP, picture
from bitbert.search.space import Space
from bitbert.spec import QuantSpec
from support.random_model import tiny_config

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def space():
    return Space.of(tiny_config(), QuantSpec.uniform(8, 8), (0, 2, 8), embeddings=True)


def fields(space, bits):
    """(title, width, colour) of every field of a strip."""
    root = ET.fromstring(picture(space, bits, "a < b"))
    rects = [(rect, rect.find(f"{SVG}title")) for rect in root.iter(f"{SVG}rect")]
    return [(title.text, float(rect.get("width")), rect.get("fill")) for rect, title in rects if title is not None]


def test_one_width_is_one_field_a_strip(space):
    found = fields(space, np.full(len(space.items), 8))
    assert len(found) == len(space.slices)
    assert {(width, colour) for _, width, colour in found} == {(STRIP, "#043c39")}


def test_fields_add_up_to_strips_and_follow_the_widths(space):
    rng = np.random.default_rng(0)
    bits = np.where(space.allowed[:, 0], rng.choice([0, 2, 8], len(space.items)), 2)
    found = fields(space, bits)
    assert sum(width for _, width, _ in found) == pytest.approx(STRIP * len(space.slices), abs=0.01 * len(found))
    assert sum(title.startswith("0 bits") for title, *_ in found) > 0
    assert {colour for title, _, colour in found if title.startswith("0 bits")} == {"#ffffff"}


def test_the_caption_is_escaped_and_shares_are_told(space):
    drawn = picture(space, np.full(len(space.items), 2), "a < b")
    assert "a &lt; b" in drawn
    assert "2 bits 100.0 %" in drawn
    assert "pruned 0.0 %" in drawn
