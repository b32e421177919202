"""The constants of exp, erf and tanh are the same in C++ and numpy."""

import re
from pathlib import Path

import numpy as np

from bitbert.runtime import functions

HEADER = Path(__file__).parents[2] / "native/kernels/rowops/functions.h"


def header_constants():
    """Name, in capitals without underscores, -> values in the header."""
    text = re.sub(r"//.*", "", HEADER.read_text())
    found = re.findall(r"float k(\w+)(?:\[[^]]*\])? = ([^;]+);", text)
    return {name.upper(): hex_floats(body) for name, body in found}


def hex_floats(text):
    return [float.fromhex(x) for x in re.findall(r"-?0x[0-9a-f.]+p[-+]\d+", text)]


def test_both_hold_the_same_constants():
    numpy_constants = {
        name.replace("_", ""): np.atleast_1d(value).tolist()
        for name, value in vars(functions).items()
        if name.isupper() and not name.startswith("_")
    }
    assert header_constants() == numpy_constants
    assert len(numpy_constants) == 11
