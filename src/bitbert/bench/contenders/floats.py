"""The float32 BERT that every peer starts from: of the packed model's shape, with random or given weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from bitbert.bench.contenders import Floats, Setup
from bitbert.bench.workload import Batch, random_workload
from bitbert.checkpoint import Architecture

SEED = 0
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUT = "output"


class Encoder(nn.Module):
    """Token ids, mask and token types (B, T) -> pooled output (B, H); without a pooler, hidden states (B, T, H).

    A module with one output, as exporters want it.
    """

    def __init__(self, bert: BertModel) -> None:
        """Wrap `bert`, in evaluation mode."""
        super().__init__()
        self.bert = bert
        self.eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Run the stock model."""
        out = self.bert(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        result: Tensor = out.last_hidden_state if out.pooler_output is None else out.pooler_output
        return result


def float_encoder(setup: Setup) -> Encoder:
    """The same model in every process: the weights of `setup.floats`, or random ones of a fixed seed."""
    torch.set_num_threads(setup.threads)
    pooler = Architecture.from_config(setup.config).pooler
    if setup.floats is not None:
        return Encoder(BertModel.from_pretrained(setup.floats, add_pooling_layer=pooler, local_files_only=True).float())
    torch.manual_seed(SEED)
    return Encoder(BertModel(BertConfig.from_dict(dict(setup.config)), add_pooling_layer=pooler))


def tensors(batch: Batch) -> dict[str, Tensor]:
    """The padded inputs as int64 tensors."""
    return {name: torch.from_numpy(value) for name, value in batch.padded().items()}


def example() -> tuple[Tensor, ...]:
    """Inputs (2, 8) with padding, to export with."""
    ids = torch.ones(2, 8, dtype=torch.long)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    return ids, mask, torch.zeros_like(ids)


def first_tokens(output: Floats) -> Floats:
    """(B, H) of an output (B, H) or (B, T, H)."""
    return output if output.ndim == 2 else output[:, 0]


def calibration(setup: Setup, count: int, tokens: int = 128) -> Sequence[Batch]:
    """Random sequences for post-training quantization; its ranges change the answers, not the time."""
    vocabulary, longest = setup.config["vocab_size"], setup.config["max_position_embeddings"]
    return [random_workload((1, min(tokens, longest)), vocabulary, seed).batches[0] for seed in range(count)]
