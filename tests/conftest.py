"""Fixtures that several folders of tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Directory of GLUE tasks as Parquet: `BITBERT_DATA_DIR`, or `../shared/data` beside the checkout."""
    default = Path(__file__).parents[2] / "shared" / "data"
    path = Path(os.environ.get("BITBERT_DATA_DIR", default))
    if not path.is_dir():
        pytest.skip(f"no data sets at {path}; set BITBERT_DATA_DIR")
    return path
