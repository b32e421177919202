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


@pytest.fixture(scope="module")
def one_thread():
    """Tiny models run faster on one thread than on several that wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """120 reviews to train on, 12 for validation, 24 for test."""
    from support import films

    return films.read(tmp_path_factory.mktemp("reviews"))


@pytest.fixture(scope="session")
def encoder(tmp_path_factory) -> Path:
    """A random BERT without a head."""
    from support import films

    return films.save_model(tmp_path_factory.mktemp("encoder") / "tiny", "BertModel")


@pytest.fixture(scope="session")
def classifier(tmp_path_factory) -> Path:
    """A random classifier with the labels of the reviews, as if it had been fine-tuned."""
    from support import films

    return films.save_model(tmp_path_factory.mktemp("classifier") / "tiny")
