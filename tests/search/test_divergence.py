"""The divergence of answers, and random directions whose second moment is its second derivative."""

import pytest
import torch

from bitbert.search.divergence import answers, by_text, divergence, random_direction
from support.tiny_bert import batch, stock_model


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_directions_have_the_second_derivative_as_second_moment(classes):
    logits = torch.randn(1, classes, generator=torch.Generator().manual_seed(classes)).double()
    hessian = torch.autograd.functional.hessian(lambda z: divergence(z, logits).sum(), logits)[0, :, 0, :]
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([random_direction(logits, generator)[0] for _ in range(4000)])
    # Each entry of s s^T is at most 2 here, so its mean over 4,000 has a standard deviation below 0.032.
    assert torch.allclose(drawn.t() @ drawn / len(drawn), hessian, atol=5 * 0.032)


def test_a_model_is_nowhere_from_itself_and_farther_the_farther_it_is():
    logits, moved = torch.tensor([[2.0, -1.0]]), torch.tensor([[2.0, -0.9]])
    assert divergence(logits, logits).item() == 0
    assert 0 < divergence(moved, logits) < divergence(moved + moved - logits, logits)
    assert divergence(torch.tensor([[3.0]]), torch.tensor([[1.0]])).item() == 2


@pytest.mark.parametrize(
    ("kind", "rows"),
    [("SequenceClassification", 3), ("TokenClassification", 4 + 9 + 6), ("QuestionAnswering", 6)],
)
def test_answers_do_not_depend_on_padding(kind, rows):
    model = stock_model(f"BertFor{kind}")
    inputs = batch(model.config, [4, 9, 6])
    padded = {name: torch.nn.functional.pad(x, (0, 3)) for name, x in inputs.items()}
    with torch.no_grad():
        short, long = answers(model, inputs), answers(model, padded)
    assert len(short) == rows
    assert divergence(long[:, : short.shape[1]], short).max() < 1e-9


@pytest.mark.parametrize(
    ("rows", "sums"), [(3, [0, 1, 2]), (6, [0 + 3, 1 + 4, 2 + 5]), (19, [6, sum(range(4, 13)), sum(range(13, 19))])]
)
def test_rows_of_a_text_are_summed(rows, sums):
    inputs = batch(stock_model("BertForSequenceClassification").config, [4, 9, 6])
    assert by_text(torch.arange(rows).double(), inputs).tolist() == sums
