"""The model card says what the model and its report say, and nothing that they do not."""

from bitbert.report.card import model_card
from bitbert.spec import QuantSpec
from support.random_model import random_model, tiny_config, with_mixed_groups

REPORT = {
    "model": "/some/where/my-bert",
    "task": "sst2",
    "recipe": "kdlsq",
    "rows": 16000,
    "seed": 3,
    "splits": {
        "validation": {
            "accuracy": 91.25,
            "texts": 872,
            "ms_per_text": 1.5,
            "float32": {"accuracy": 92.0, "texts": 872, "ms_per_text": 9.0},
        }
    },
    "bytes": {"model.safetensors": 2**20, "float32_parameters": 8 * 2**20, "ratio": 8.0},
    "machine": {"cpu": "A CPU", "isa": "avx2"},
}


def test_card_of_a_full_report():
    card = model_card(random_model(QuantSpec.uniform(4, 8)), REPORT)
    assert card.startswith("---\nlibrary_name: bitbert\npipeline_tag: text-classification\n")
    assert "# my-bert for sst2, packed by bitbert" in card
    assert "/some/where" not in card
    assert "| linear | 4 |" in card
    assert "| linear input (activation) | 8 |" in card
    assert "| `model.safetensors` | 1.00 MiB |" in card
    assert "| validation | 872 | accuracy | 91.25 | 92.00 |" in card
    assert "- Measured on: A CPU, avx2" in card
    assert 'bitbert.load("' in card
    assert "predict" in card


def test_card_without_a_report_claims_nothing():
    card = model_card(random_model(config=tiny_config("BertModel")), {})
    assert "Accuracy" not in card
    assert "MiB" not in card
    assert "pipeline_tag: feature-extraction" in card
    assert "encode" in card


def test_card_names_every_width_that_occurs():
    spec = QuantSpec.uniform(4, 8, activations={"gelu_input": {"bits": None}})
    card = model_card(random_model(with_mixed_groups(spec, tiny_config())), {})
    assert "| linear | 8, 4, 3, 2, 1, pruned |" in card
    assert "| gelu input (activation) | float |" in card
