"""What the tests of training share beside the tiny models of all."""

import pytest
import torch


@pytest.fixture(scope="session")
def tuned(tmp_path_factory, encoder, data):
    """A tiny model that tells the reviews apart."""
    import bitbert

    path, before = tmp_path_factory.mktemp("tuned") / "films", torch.get_num_threads()
    torch.set_num_threads(1)
    bitbert.finetune(encoder, data, path, epochs=6, learning_rate=3e-3, batch_size=16, progress=False)
    torch.set_num_threads(before)
    return path


@pytest.fixture
def tokenizer(classifier):
    from bitbert.training.models import load_tokenizer

    return load_tokenizer(classifier)
