"""What the tests of searches share: tiny models, tiny data, one thread."""

import pytest
import torch

from support import films


@pytest.fixture(scope="module")
def one_thread():
    """Tiny models run faster on one thread than on several that wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """120 reviews to train on, 12 for validation, 24 for test."""
    return films.read(tmp_path_factory.mktemp("reviews"))


@pytest.fixture(scope="session")
def classifier(tmp_path_factory):
    """A random classifier with the labels of the reviews, as if it had been fine-tuned."""
    return films.save_model(tmp_path_factory.mktemp("classifier") / "tiny")
