"""AQ-BERT's quantizer against its definition, and that it trains in a model but cannot be packed."""

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from bitbert.errors import SpecError
from bitbert.freeze import freeze
from bitbert.prepare import prepare
from bitbert.quantizers.asymmetric import AsymmetricWeight
from bitbert.spec import QuantSpec, WeightSpec, row_groups
from quantizers.cases import quantizer_of


def printed(run, bits):
    """code = round(q (a - min)), value = code / q + min, q = (2^b - 1) / (max - min)."""
    if bits == 0:
        return torch.zeros_like(run)
    q = (2**bits - 1) / (run.max() - run.min())
    return (q * (run - run.min())).round() / q + run.min()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize(("rows", "run"), [(768, 6), (3072, 24), (100, 1)])
def test_every_run_reaches_from_its_minimum_to_its_maximum(bits, rows, run):
    weight = torch.randn(rows, 5, generator=torch.Generator().manual_seed(0)) + 0.3
    codes, scale, bound = quantizer_of(weight, WeightSpec(bits, "asymmetric"))(weight)
    expected = torch.cat([printed(part, bits) for part in weight.split(run)])
    torch.testing.assert_close(codes * scale, expected, atol=1e-5, rtol=0)
    assert bound == 0  # not integers


def test_row_groups_may_have_widths_of_their_own():
    weight = torch.randn(32, 7, generator=torch.Generator().manual_seed(0))
    spec = WeightSpec(8, "asymmetric", granularity="row_group", group_bits=(0, 2))
    quantizer = quantizer_of(weight, spec)
    values, bias = quantizer(weight).codes, quantizer.kept(torch.ones(32))
    assert torch.equal(values[:16], torch.zeros(16, 7))
    assert torch.equal(bias, torch.cat([torch.zeros(16), torch.ones(16)]))
    torch.testing.assert_close(values[16:], torch.cat([printed(row, 2) for row in weight[16:].split(1)]))


def test_rows_of_a_table_are_those_of_the_whole():
    table, ids = torch.randn(40, 3), torch.tensor([[3, 3], [39, 0]])
    quantizer = AsymmetricWeight(WeightSpec(4, "asymmetric"), row_groups(40), torch.float32)
    assert torch.equal(quantizer.gather(table, ids).codes, quantizer(table).codes[ids])


def test_a_model_learns_with_it_and_cannot_be_packed():
    config = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=50)
    spec = QuantSpec.uniform(2, None, weights={"all": {"method": "asymmetric"}})
    model = prepare(BertForSequenceClassification(config), spec)
    batch = {"input_ids": torch.tensor([[1, 2, 3]]), "labels": torch.tensor([1])}
    model(**batch).loss.backward()
    assert model.bert.encoder.layer[0].output.dense.weight.grad.abs().sum() > 0
    assert model.bert.embeddings.word_embeddings.weight.grad[2].abs().sum() > 0
    packable = QuantSpec.uniform(2, 8, weights={"all": {"method": "asymmetric"}})
    with pytest.raises(SpecError, match="weights of method 'asymmetric' train, but cannot be packed"):
        freeze(model, packable)
