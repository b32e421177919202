"""Stock Hugging Face models of two layers with lively random numbers, and the same prepared and calibrated."""

import torch
import transformers

from bitbert.prepare import prepare
from bitbert.recipes.schema import Calibration
from bitbert.spec import QuantSpec
from bitbert.training.calibrate import calibrate
from support.random_model import random_ids, tiny_config

# Weights of this spread keep the variance of what passes through a layer of 64 inputs; transformers' 0.02 lets it die.
LIVELY = 0.12


def stock_model(architecture="BertForSequenceClassification", seed=0, **changes):
    """A float model in evaluation mode; nothing in it is exactly 0 or 1, biases and LayerNorm included."""
    torch.manual_seed(seed)
    config = transformers.BertConfig(**tiny_config(architecture, initializer_range=LIVELY, **changes))
    model = getattr(transformers, architecture)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.2 * torch.randn_like(parameter)
    return model


def batch(config, lengths, seed=0):
    """Sequences of these lengths, padded to the longest: input_ids, token_type_ids and attention_mask."""
    ids, types = (
        torch.nn.utils.rnn.pad_sequence([torch.from_numpy(x).long() for x in part], batch_first=True)
        for part in random_ids(config.to_dict(), lengths, seed)
    )
    mask = torch.arange(ids.shape[1])[None] < torch.tensor(lengths)[:, None]
    return {"input_ids": ids, "token_type_ids": types, "attention_mask": mask.long()}


def calibrated_model(spec=None, architecture="BertForSequenceClassification", seed=0, **changes):
    """A prepared model whose ranges fit random sequences, in evaluation mode."""
    model = prepare(stock_model(architecture, seed, **changes), spec or QuantSpec())
    longest = model.config.max_position_embeddings
    calibrate(model, [batch(model.config, [longest] * 4, seed=1)], Calibration(batches=1))
    return model.eval()
