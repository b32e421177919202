"""The runtimes that can be timed, and what each is told. One file each; a file is imported in its worker only.

A contender is a class that builds itself from a `Setup` and then loads batches, runs them, and shows an answer.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from bitbert.bench.workload import Batch

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Setup:
    """What a contender is: plain values, so that they can be sent to its process.

    `contender` is a key of `CONTENDERS` and `name` what it is called in results. `config` is the Hugging Face config
    that gives a peer its shape; its weights come from the checkpoint `floats`, or are random. bitbert's own engine
    reads the packed `directory`, quantized as `spec` says, and runs with `isa`. `environment` is set for its process
    alone.
    """

    name: str
    contender: str
    config: Mapping[str, Any]
    threads: int
    directory: str | None = None
    spec: Mapping[str, Any] | None = None
    floats: str | None = None
    isa: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


class Contender(Protocol):
    """A model, ready to run. `how` says in a few words with which settings."""

    how: str

    def load(self, batches: Sequence[Batch]) -> None:
        """Take the batches that are run next, in whatever form is run fastest; this is not timed."""

    def run(self, index: int) -> Any:
        """The pooled output of one batch (hidden states of a model without pooler), in the runtime's own type."""

    def answer(self, index: int) -> Floats:
        """The same in float32, (sequences, hidden size): the pooled output, or the hidden state of the first token."""


@dataclass(frozen=True)
class Kind:
    """A contender before it is built: its name, its class as `file.Class`, the modules that must be installed."""

    title: str
    home: str
    needs: tuple[str, ...]

    def missing(self) -> list[str]:
        """Modules that are needed and not installed."""
        return [name for name in self.needs if find_spec(name) is None]


ENGINE = "bitbert"
FLOAT32 = "torch-fp32"
CONTENDERS = {
    ENGINE: Kind("bitbert", "engine.PackedEngine", ()),
    FLOAT32: Kind("PyTorch float32", "pytorch.Float32", ("torch", "transformers")),
    "torch-bf16": Kind("PyTorch bf16 compiled", "pytorch.Bf16Compiled", ("torch", "transformers")),
    "onnxruntime": Kind(
        "ONNX Runtime dynamic int8",
        "onnx_int8.OnnxInt8",
        ("onnxruntime", "onnx", "onnxscript", "torch", "transformers"),
    ),
    "openvino": Kind("OpenVINO int8", "openvino_int8.OpenVinoInt8", ("openvino", "nncf", "torch", "transformers")),
    "ctranslate2": Kind(
        "CTranslate2 int8", "ctranslate2_int8.CTranslate2Int8", ("ctranslate2", "torch", "transformers")
    ),
}
PEERS = tuple(name for name in CONTENDERS if name != ENGINE)


def build(setup: Setup) -> Contender:
    """Import and build the contender; raises whatever its libraries raise."""
    module, _, name = CONTENDERS[setup.contender].home.partition(".")
    make = getattr(importlib.import_module(f"bitbert.bench.contenders.{module}"), name)
    return cast(Contender, make(setup))
