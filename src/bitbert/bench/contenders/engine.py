"""bitbert's own engine on a packed directory: sequences without padding, from int32 token ids to floats."""

from __future__ import annotations

from collections.abc import Sequence

from bitbert.bench.contenders import Floats, Setup
from bitbert.bench.workload import Batch
from bitbert.checkpoint import read
from bitbert.errors import CheckpointError
from bitbert.runtime.engine import Engine
from bitbert.runtime.model import first_tokens


class PackedEngine:
    """The packed directory `setup.directory`."""

    def __init__(self, setup: Setup) -> None:
        """Read, check and lay out the model; raises `BitbertError`."""
        if setup.directory is None:
            raise CheckpointError(f"{setup.name}: no packed directory was named")
        self._engine = Engine(read(setup.directory), setup.isa)
        self._threads = setup.threads
        self._output = "pooled" if self._engine.architecture.pooler else "hidden"
        self.how = f"no padding, {self._engine.isa}"

    def load(self, batches: Sequence[Batch]) -> None:
        """Nothing to prepare."""
        self._batches = batches

    def run(self, index: int) -> Floats:
        """(B, H), or of a model without pooler (tokens, H)."""
        batch = self._batches[index]
        return self._engine.forward(batch.ids, batch.types, output=self._output, threads=self._threads)

    def answer(self, index: int) -> Floats:
        """(B, H)."""
        if self._output == "pooled":
            return self.run(index)
        return first_tokens(self.run(index), self._batches[index].ids)
