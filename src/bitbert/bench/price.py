"""What a row group takes of a forward pass at each width, measured with the engine: prices for a budget in ms.

A random model of the architecture is laid out at each width and timed operation by operation, all widths in turn;
medians. The time of a kind of matrix is shared among its row groups by their weights. To first order, so: a pruned
group takes nothing, a width costs the same whatever its neighbours have, and the columns that pruned rows of V and of
the intermediate layer spare the next matrix are not counted. `measure` times the widths that were found, all of them.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitbert.bench.rounds import rotated
from bitbert.bench.workload import Batch, parse_shapes, random_workload
from bitbert.checkpoint import Architecture, PackedModel, PackedWeight, StaticScale
from bitbert.checkpoint.layout import static_activations
from bitbert.checkpoint.packed import scale_shape
from bitbert.errors import DataError
from bitbert.runtime.engine import Engine
from bitbert.search.budget import Prices
from bitbert.search.space import Bits, Space
from bitbert.spec import QuantSpec, code_range, row_groups, weight_names

ROUNDS = 20
NANOSECONDS, PER_MS = 1e9, 1e6

# What the engine's profile calls the product with each matrix.
OPERATIONS = {
    "attention.self.query": "query, key, value",
    "attention.self.key": "query, key, value",
    "attention.self.value": "query, key, value",
    "attention.output.dense": "attention output",
    "intermediate.dense": "intermediate",
    "output.dense": "output",
    "pooler.dense": "head",
}

Seconds = Mapping[str, float]


@dataclass(frozen=True)
class EngineClock:
    """Times forward passes of `shape` (BxT) on this machine, after a warm-up.

    Threads work side by side, so of the seconds that are summed over them each gets its part.
    """

    shape: str
    threads: int
    rounds: int = ROUNDS

    def prices(self, space: Space) -> Prices:
        """Nanoseconds that each choice takes; what is the same at every width is the median over widths."""
        widths = [bits for bits in space.choices if bits]
        uniform = {bits: np.full(len(space.items), bits) for bits in widths}
        medians = self._medians({bits: _engine(space, of_items) for bits, of_items in uniform.items()}, space)
        weights = Counter[str]()
        for item in space.items:
            weights[_operation(item.tensor)] += item.weights
        by_weight = np.array(
            [
                [medians[b][operation] / weights[operation] if b else 0.0 for b in space.choices]
                for operation in (_operation(item.tensor) for item in space.items)
            ]
        )
        others = [sum(s for name, s in of_width.items() if name not in weights) for of_width in medians.values()]
        values = np.rint(NANOSECONDS / self.threads * by_weight * space.weights[:, None])
        return Prices(values, round(NANOSECONDS / self.threads * statistics.median(others)), PER_MS)

    def measure(self, space: Space, bits: Bits) -> float:
        """Median milliseconds with these widths, all operations together."""
        (found,) = self._medians({0: _engine(space, bits)}, space).values()
        return 1e3 / self.threads * sum(found.values())

    def _medians(self, engines: Mapping[int, Engine], space: Space) -> dict[int, Seconds]:
        """Seconds by operation, summed over threads; every round times all engines, beginning with another one."""
        batch = self._batch(space.architecture)
        calls: dict[int, list[Seconds]] = {bits: [] for bits in engines}
        for turn in range(self.rounds + 1):
            for bits in rotated(list(engines), turn):
                calls[bits].append(_profile(engines[bits], batch, self.threads))
        return {
            bits: {name: statistics.median(call[name] for call in found[1:]) for name in found[0]}
            for bits, found in calls.items()
        }

    def _batch(self, architecture: Architecture) -> Batch:
        shapes = parse_shapes(self.shape, architecture.max_position_embeddings)
        if len(shapes) != 1:
            raise DataError(f"{self.shape} are {len(shapes)} shapes: a budget is for one, such as 1x128")
        (batch,) = random_workload(shapes[0], architecture.vocab_size).batches
        return batch


def _profile(engine: Engine, batch: Batch, threads: int) -> Seconds:
    output = "pooled" if engine.architecture.pooler else "hidden"
    return engine.profile(batch.ids, batch.types, output=output, threads=threads)


def _operation(tensor: str) -> str:
    return next(operation for module, operation in OPERATIONS.items() if tensor.endswith(f"{module}.weight"))


# ---- a model to time -------------------------------------------------------------------------------------------------


def _engine(space: Space, bits: Bits) -> Engine:
    return Engine(_random_model(space, space.spec(bits)))


def _random_model(space: Space, spec: QuantSpec) -> PackedModel:
    """Random codes; scales and floats such that nothing overflows or dies out."""
    architecture, rng = space.architecture, np.random.default_rng(0)
    names = weight_names(architecture.num_hidden_layers, architecture.pooler)
    floats = {name: np.full(shape, 0.5, np.float32) for name, shape in architecture.float_shapes().items()}
    activations = {name: StaticScale(0.03125, 128) for name in static_activations(architecture, spec)}
    weights = {name: _random_weight(name, architecture, spec, rng) for name in names}
    return PackedModel(space.config, spec, weights, activations, floats)


def _random_weight(name: str, architecture: Architecture, spec: QuantSpec, rng: np.random.Generator) -> PackedWeight:
    weight, shape, head_dim = spec.weight(name), architecture.weight_shape(name), architecture.weight_head_dim(name)
    groups = row_groups(shape[0], head_dim)
    bits = weight.bits_of(len(groups))
    codes = np.empty(shape, np.int8)
    scale = np.full(scale_shape(weight, shape[0], head_dim), 0.03125 / math.sqrt(shape[1]), np.float32)
    for group, ((first, rows), width) in enumerate(zip(groups, bits, strict=True)):
        codes[first : first + rows] = _codes(rng, width, weight.grid, (rows, shape[1]))
        if width == 0:
            scale[group if weight.granularity == "row_group" else slice(first, first + rows)] = 0.0
    return PackedWeight.from_codes(name, weight, codes, scale, head_dim)


def _codes(rng: np.random.Generator, bits: int, grid: str, shape: tuple[int, int]) -> NDArray[np.int8]:
    low, high, step = code_range(bits, grid)
    return (low + step * rng.integers(0, (high - low) // step + 1, shape)).astype(np.int8)
