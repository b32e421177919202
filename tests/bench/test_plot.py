"""The picture: well-formed, one bar for each time, the fastest the longest, names written as they are."""

from xml.etree import ElementTree

import pytest

from bitbert.bench.plot import BAR, OURS, THEIRS, plot

SVG = "{http://www.w3.org/2000/svg}"


def time(seconds, ratio):
    spread = {"median": seconds, "q1": 0.9 * seconds, "q3": 1.25 * seconds}
    return {**spread, "ratio": {"median": ratio}, "sequences_per_second": 10 / seconds}


REPORT = {
    "contenders": [{"name": "a<b", "contender": "bitbert"}, {"name": "Peer", "contender": "torch-fp32"}],
    "workloads": [
        {"name": "1x32", "kind": "shape", "sequences": 1, "times": {"a<b": time(0.002, 1), "Peer": time(0.008, 4)}},
        {"name": "sst2", "kind": "texts", "sequences": 10, "times": {"a<b": time(0.5, 1)}},
    ],
}


@pytest.fixture(scope="module")
def picture():
    return ElementTree.fromstring(plot(REPORT, "some CPU & 2 threads"))


def bars(picture):
    return [rect for rect in picture.iter(f"{SVG}rect") if rect.get("fill") in (OURS, THEIRS)]


def test_bars_are_as_long_as_their_owner_is_fast(picture):
    assert [float(bar.get("width")) for bar in bars(picture)] == [BAR, BAR / 4, BAR]
    assert [bar.get("fill") for bar in bars(picture)] == [OURS, THEIRS, OURS]


def test_everything_is_named(picture):
    texts = [element.text for element in picture.iter(f"{SVG}text")]
    assert texts == [
        *("1x32 (sequences x tokens)", "a<b", "2.00 ms", "Peer", "8.00 ms, 4.00x the time"),
        *("sst2 (10 texts)", "a<b", "20.0 texts/s", "some CPU & 2 threads"),
    ]


def test_everything_is_inside(picture):
    height = float(picture.get("height"))
    assert all(0 < float(element.get("y")) < height for element in picture.iter(f"{SVG}text"))


def test_a_long_name_is_cut():
    name = "n" * 60
    workload = {**REPORT["workloads"][1], "times": {name: time(1, 1)}}
    assert f">{'n' * 27}…<" in plot({"contenders": [], "workloads": [workload]}, "")
