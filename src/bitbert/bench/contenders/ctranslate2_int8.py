"""CTranslate2 with int8: weights int8, activations quantized per token as they come."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from ctranslate2.converters import TransformersConverter

from bitbert.bench.contenders import Floats, Setup
from bitbert.bench.contenders.floats import float_encoder
from bitbert.bench.workload import Batch
from bitbert.errors import ModelError


class CTranslate2Int8:
    """An encoder with pooler; padding is known to it by lengths, not by a mask."""

    how = "compute type int8"

    def __init__(self, setup: Setup) -> None:
        """Convert and open; raises `ModelError` for a model without pooler."""
        model = float_encoder(setup).bert
        if model.pooler is None:
            raise ModelError("its converter takes encoders with a pooler only")
        model.config.position_embedding_type = "absolute"  # which the converter looks for and transformers 5 dropped
        with tempfile.TemporaryDirectory() as directory:
            source, converted = Path(directory, "float"), Path(directory, "int8")
            model.save_pretrained(source)
            _Converter(str(source)).convert(str(converted), quantization="int8")
            threads = {"inter_threads": 1, "intra_threads": setup.threads}
            self._encoder = ctranslate2.Encoder(str(converted), device="cpu", compute_type="int8", **threads)

    def load(self, batches: Sequence[Batch]) -> None:
        """Pad."""
        self._inputs = [_inputs(batch) for batch in batches]

    def run(self, index: int) -> Any:
        """(B, H)."""
        return self._encoder.forward_batch(**self._inputs[index]).pooler_output

    def answer(self, index: int) -> Floats:
        """(B, H)."""
        return np.array(self.run(index), np.float32)


class _Converter(TransformersConverter):  # type: ignore[misc]
    """The stock converter without a tokenizer: only token ids are run."""

    def load_tokenizer(self, *args: Any, **kwargs: Any) -> Any:
        return _NoTokenizer()


class _NoTokenizer:
    unk_token = "[UNK]"

    def get_vocab(self) -> dict[str, int]:
        return {self.unk_token: 0}


def _inputs(batch: Batch) -> dict[str, Any]:
    """Ids and lengths as its own arrays; token types only where they are not all 0, which it assumes."""
    padded = batch.padded()
    lengths = np.array([len(ids) for ids in batch.ids], np.int32)
    inputs = {"inputs": _array(padded["input_ids"].astype(np.int32)), "lengths": _array(lengths)}
    types = padded["token_type_ids"]
    return inputs | ({"token_type_ids": types.tolist()} if types.any() else {})


def _array(values: Any) -> Any:
    return ctranslate2.StorageView.from_array(values)
