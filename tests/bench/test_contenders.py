"""The peers themselves, where they are installed: they run the same model, and padding changes no answer.

Each runs in its worker, as it does when it is timed: five libraries in the process of the tests would get in each
other's way, and warn.
"""

import re

import numpy as np
import pytest

from bitbert.bench.contenders import CONTENDERS, FLOAT32, PEERS, Setup
from bitbert.bench.process import Process
from bitbert.bench.rounds import RacerError
from bitbert.bench.workload import Batch, Workload
from support.random_model import random_ids, tiny_config

# bf16 and int8 lose what they lose, the static ranges of OpenVINO most; another sequence is much farther away.
LOWEST_COSINE = {FLOAT32: 1 - 1e-6, "torch-bf16": 0.999, "onnxruntime": 0.99, "openvino": 0.97, "ctranslate2": 0.99}
OTHER_SEQUENCE = 0.8
CANNOT_COMPILE = "no bf16 instructions|No working C\\+\\+ compiler"

LENGTHS = [12, 5, 9]
CONFIG = tiny_config(initializer_range=0.12)  # lively: with the usual 0.02 all answers are much alike


def batch():
    """Three sequences of different lengths."""
    return Batch(*random_ids(CONFIG, LENGTHS))


def with_another(one):
    """The same, and after them the second with all its tokens changed."""
    changed = (one.ids[1] + 1) % CONFIG["vocab_size"]
    return Batch([*one.ids, changed], [*one.types, one.types[1]])


def by_hand(setup, one):
    """What the float model answers to each sequence alone, without any padding: (3, 64)."""
    torch = pytest.importorskip("torch")
    from bitbert.bench.contenders.floats import float_encoder, tensors

    encoder = float_encoder(setup)
    with torch.inference_mode():
        alone = [encoder(**tensors(Batch([x], [t]))) for x, t in zip(one.ids, one.types, strict=True)]
    return torch.cat(alone).numpy()


def cosines(one, other):
    return (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


@pytest.mark.parametrize("name", PEERS)
def test_it_runs_the_same_model(name):
    if missing := CONTENDERS[name].missing():
        pytest.skip(f"not installed: {', '.join(missing)}")
    setup = Setup(name, name, CONFIG, 1)
    expected = by_hand(setup, batch())
    with Process(setup) as process:
        try:
            process.build()
            process.load(Workload("w", "shape", [with_another(batch())]))
        except RacerError as error:
            if re.search(CANNOT_COMPILE, str(error)):
                pytest.skip(str(error))
            raise
        *answers, another = np.array(process.answer(0))
        assert process.run(0) > 0
    assert cosines(np.array(answers), expected).min() > LOWEST_COSINE[name]
    assert cosines(another[None], expected[1:2]) < OTHER_SEQUENCE


def test_given_weights_are_the_ones_that_run(tmp_path):
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    torch.manual_seed(7)
    transformers.BertForSequenceClassification(transformers.BertConfig(**CONFIG)).save_pretrained(tmp_path)
    given, random = (by_hand(Setup("s", FLOAT32, CONFIG, 1, floats=f), batch()) for f in (str(tmp_path), None))
    stock = transformers.BertModel.from_pretrained(tmp_path).eval()
    one = batch()
    with torch.inference_mode():
        first = stock(
            torch.from_numpy(one.ids[0][None]).long(), token_type_ids=torch.from_numpy(one.types[0][None]).long()
        )
    np.testing.assert_allclose(given[0], first.pooler_output[0].numpy(), rtol=1e-5, atol=1e-6)
    assert cosines(given, random).max() < 0.9


def test_without_a_pooler_the_first_hidden_state_answers():
    pytest.importorskip("torch")
    from bitbert.bench.contenders.pytorch import Float32

    contender = Float32(Setup("s", FLOAT32, CONFIG | {"architectures": ["BertForTokenClassification"]}, 1))
    contender.load([batch()])
    hidden = contender.run(0)
    assert hidden.shape == (len(LENGTHS), max(LENGTHS), CONFIG["hidden_size"])
    np.testing.assert_array_equal(contender.answer(0), hidden[:, 0])
