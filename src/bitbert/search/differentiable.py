"""AQ-BERT's search (Zhao et al., IJCAI 2021): widths and weights learned together, by gradients.

Every row group has logits over the choices (`quantizers/mixture.py`). Steps alternate, first order as the paper allows:

    inner   weights, on one part of the training rows:      loss
    outer   logits, on the rows held out of that part:      loss + size_weight * L_size

    L_size = log E if E > (1 + tolerance) V, -log E if E < (1 - tolerance) V, else 0,    E = sum_i sum_k p_ik price_ik

with p = softmax(logits), V what the budget leaves for the choices, and prices in its unit. The temperature falls from
`temperature` by exp(-cooling) an epoch; logits begin to move after `warm_up` epochs. What is left of the search is
-log p, the cost of each choice: the assignment of least cost within the budget is the argmax, mended where that is over
or under it.

Departures: the loss is the divergence from the float model instead of the labels' (`labels` 1, `teacher` 0 is the
paper's). Logits start from what `sensitivity.py` says, since a few hundred noisy steps tell too little of each of a
thousand groups (`start` 0: all equal), and their gradient is divided by its root mean square, since that of one group
is as small as its share of the model. Scales of activations and embeddings stay as calibrated. The grid is the
engine's, not the paper's (`docs/decisions/0008-symmetric-groups-of-16-rows.md`).
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from scipy.special import softmax
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bitbert.errors import SearchError
from bitbert.layers.linear import QuantLinear
from bitbert.prepare import base_model, prepare
from bitbert.quantizers.lsq import LSQWeight
from bitbert.quantizers.mixture import MixtureWeight
from bitbert.recipes.schema import Calibration
from bitbert.search.allocate import rates, total
from bitbert.search.divergence import answers, divergence, rows_of
from bitbert.search.quantized import Groups, best_steps
from bitbert.search.space import Space
from bitbert.spec import Override, WeightSpec, row_groups
from bitbert.training.calibrate import calibrate
from bitbert.training.encode import LengthGroupedSampler, collator, some_batches
from bitbert.training.trainer import bfloat16_is_fast, set_dropout
from bitbert.training.work import disk_errors
from bitbert.watch import Watch, watched

Values = NDArray[np.float64]

CHECKPOINT = "checkpoint-last.safetensors"
SECONDS = 60.0  # between two checkpoints, which take about a second


@dataclass(frozen=True)
class Settings:
    """What the paper leaves open but for `learning_rate`; `held_out` is the part of the rows for the outer steps."""

    epochs: float = 3.0
    warm_up: float = 0.5
    batch_size: int = 32
    learning_rate: float = 2e-5
    logits_learning_rate: float = 0.05
    start: float = 1.0
    temperature: float = 1.0
    cooling: float = 0.5
    size_weight: float = 1.0
    tolerance: float = 0.01
    held_out: float = 0.2
    labels: float = 0.0
    teacher: float = 1.0


@dataclass(frozen=True)
class Target:
    """What the size is held to: `prices` (items, choices), and their total that the budget leaves.

    `costs` (items, choices) of `sensitivity.py` are where the search starts.
    """

    prices: Values
    total: float
    costs: Values


def search(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    train: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    space: Space,
    target: Target,
    settings: Settings,
    work: Path,
    *,
    seed: int,
    calibration: Calibration,
    watch: Watch = lambda *_: None,
    checkpoint_seconds: float = SECONDS,
) -> Values:
    """(items, choices): -log of the learned probability of each choice. `student` is a float model, trained in place.

    `train` is encoded. A checkpoint in `work` is where the search goes on, to the same bits.
    """
    noise = torch.Generator().manual_seed(seed)
    calibrating = some_batches(train, tokenizer, settings.batch_size, calibration.batches, seed)
    mixtures = _relax(student, space, calibrating, calibration, noise)
    _put_logits(mixtures, settings.start * starting_logits(target))
    learner = _Learner(student, teacher, mixtures, target, settings)
    inner, outer = _parts(train, settings, seed)
    collate = collator(train, tokenizer)
    steps, per_epoch = math.ceil(settings.epochs * len(inner)), len(inner)
    with disk_errors(work):
        work.mkdir(parents=True, exist_ok=True)
        first, saved = _load(work / CHECKPOINT, learner, noise), time.monotonic()
        for step in watched(range(steps), "search", watch):
            if step < first:
                continue
            learner.cool(step / per_epoch)
            learner.learn_weights(collate(inner.rows(step)), 1 - step / steps)
            if step >= settings.warm_up * per_epoch:
                learner.learn_logits(collate(outer.rows(step)))
            if time.monotonic() - saved >= checkpoint_seconds:
                _save(work / CHECKPOINT, learner, noise, step + 1)
                saved = time.monotonic()
    return _costs(mixtures)


def _relax(
    student: PreTrainedModel,
    space: Space,
    batches: Sequence[dict[str, Tensor]],
    calibration: Calibration,
    noise: torch.Generator,
) -> list[MixtureWeight]:
    """Prepare and calibrate `student` with the searched weights float, then make each a mixture; in order of items."""
    floats = [Override(name, {"bits": None, "group_bits": None}) for name in space.slices]
    prepare(student, dataclasses.replace(space.base, overrides=(*space.base.overrides, *floats)))
    calibrate(student, batches, calibration)
    return [_mixture(base_model(student), name, space, noise) for name in space.slices]


def _mixture(encoder: nn.Module, name: str, space: Space, noise: torch.Generator) -> MixtureWeight:
    layer = encoder.get_submodule(name.removesuffix(".weight"))
    assert isinstance(layer, QuantLinear)
    groups, grid = row_groups(len(layer.weight), space.architecture.weight_head_dim(name)), space.base.weight(name).grid
    weight = layer.weight.detach()
    steps = [_steps(weight, bits, groups, grid) for bits in space.choices]
    group_of_row = torch.repeat_interleave(torch.tensor([rows for _, rows in groups]))
    mixture = MixtureWeight(weight, torch.stack(steps, dim=-1), space.choices, group_of_row, grid, noise)
    layer.weight_quantizer = mixture  # type: ignore[assignment]
    return mixture


def _steps(weight: Tensor, bits: int, groups: Groups, grid: str) -> Tensor:
    """(groups): the step that fits best at this width; 1 where there is none."""
    if bits == 0:
        return torch.ones(len(groups))
    spec = WeightSpec(bits=bits, method="lsq", grid=grid, granularity="row_group")
    return best_steps(LSQWeight(spec, groups, torch.float32), weight)


def starting_logits(target: Target) -> Values:
    """(items, choices): the expected size is the target, the middle group's best choice e times as likely as its next.

    They are -(cost + rate * price), the terms of the Lagrangian that `allocate.py` minimises, in units of the middle
    group's gap.
    """

    def terms(rate: float) -> Values:
        return target.costs + rate * target.prices

    def size(rate: float) -> float:
        return float((softmax(-terms(rate) / unit, axis=1) * target.prices).sum())

    hard, _ = rates(lambda rate: total(target.prices, terms(rate).argmin(axis=1)), target.total)
    best, second = np.sort(terms(hard), axis=1)[:, :2].T
    unit = max(float(np.median(second - best)), 1e-6 * float(np.ptp(terms(hard))), np.finfo(np.float64).tiny)
    rate, _ = rates(size, target.total)
    return -terms(rate) / unit


def _put_logits(mixtures: Sequence[MixtureWeight], logits: Values) -> None:
    ends = np.cumsum([len(mixture.logits) for mixture in mixtures])[:-1]
    for mixture, of_matrix in zip(mixtures, np.split(logits, ends), strict=True):
        mixture.logits.data.copy_(torch.from_numpy(of_matrix))


def _costs(mixtures: Sequence[MixtureWeight]) -> Values:
    logits = torch.cat([mixture.logits.detach() for mixture in mixtures])
    costs: Values = -logits.double().log_softmax(dim=-1).cpu().numpy()
    return costs


# ---- learning --------------------------------------------------------------------------------------------------------


class _Learner:
    """Student, teacher and the two optimizers."""

    def __init__(
        self,
        student: PreTrainedModel,
        teacher: PreTrainedModel,
        mixtures: Sequence[MixtureWeight],
        target: Target,
        settings: Settings,
    ) -> None:
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.student, self._settings, self._mixtures = student, settings, mixtures
        self._teacher = nn.Module.to(teacher, self._device).eval().requires_grad_(False)
        nn.Module.to(student, self._device).train()
        set_dropout(student, 0.0)
        self._prices = torch.tensor(target.prices / target.total, dtype=torch.float32, device=self._device)
        self._logits = [mixture.logits for mixture in mixtures]
        self._weights = [p for name, p in student.named_parameters() if "quantizer" not in name]
        student.requires_grad_(False)
        self.inner = torch.optim.AdamW(self._weights, lr=settings.learning_rate, weight_decay=0.0)
        self.outer = torch.optim.SGD(self._logits, lr=settings.logits_learning_rate)

    def cool(self, epoch: float) -> None:
        """Set the temperature of this point of the search."""
        for mixture in self._mixtures:
            mixture.temperature = self._settings.temperature * math.exp(-self._settings.cooling * epoch)

    def learn_weights(self, batch: dict[str, Tensor], rate: float) -> None:
        """One inner step, at `rate` of the learning rate."""
        self.inner.param_groups[0]["lr"] = rate * self._settings.learning_rate
        with _learning(self._weights):
            self._loss(batch).backward()
        self.inner.step()
        self.inner.zero_grad()

    def learn_logits(self, batch: dict[str, Tensor]) -> None:
        """One outer step."""
        with _learning(self._logits):
            (self._loss(batch) + self._settings.size_weight * self._size_loss()).backward()
        _to_unit_size([logits.grad for logits in self._logits])
        self.outer.step()
        self.outer.zero_grad()

    def _loss(self, batch: dict[str, Tensor]) -> Tensor:
        """The task's own loss and the divergence from the teacher, mean over its rows."""
        batch = {name: x.to(self._device) for name, x in batch.items() if name != "length"}
        with torch.autocast(self._device.type, torch.bfloat16, enabled=bfloat16_is_fast()):
            outputs = self.student(**batch)
            loss: Tensor = self._settings.labels * outputs.loss
            if self._settings.teacher:
                with torch.no_grad():
                    reference = answers(self._teacher, batch)
                loss = loss + self._settings.teacher * divergence(rows_of(outputs, batch), reference).mean()
        return loss

    def _size_loss(self) -> Tensor:
        expected = (torch.cat([*self._logits]).softmax(dim=-1) * self._prices).sum()
        if abs(expected.item() - 1) <= self._settings.tolerance:
            return expected.new_zeros(())
        return expected.log() if expected.item() > 1 else -expected.log()


def _to_unit_size(gradients: Sequence[Tensor | None]) -> None:
    """Divide all by their common root mean square."""
    found = [gradient for gradient in gradients if gradient is not None]
    norm = torch.nn.utils.get_total_norm(found)
    size = norm / math.sqrt(sum(gradient.numel() for gradient in found))
    for gradient in found:
        gradient.div_(size.clamp(min=torch.finfo(size.dtype).tiny))


@contextmanager
def _learning(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Gradients of these alone."""
    for parameter in parameters:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(False)


# ---- rows ------------------------------------------------------------------------------------------------------------


class _Part:
    """Some rows of a data set, in batches that are a function of the step."""

    def __init__(self, rows: Dataset, batch_size: int, seed: int) -> None:
        self._rows, self._size = rows, batch_size
        self._sampler = LengthGroupedSampler(list(rows["length"]), batch_size, seed)
        self._order: tuple[int, list[int]] = (-1, [])

    def __len__(self) -> int:
        """Batches in an epoch."""
        return math.ceil(len(self._rows) / self._size)

    def rows(self, step: int) -> list[Any]:
        """The rows of the batch of a step."""
        epoch, batch = divmod(step, len(self))
        if self._order[0] != epoch:
            self._sampler.epoch = epoch
            self._order = (epoch, list(self._sampler))
        return [self._rows[i] for i in self._order[1][batch * self._size : (batch + 1) * self._size]]


def _parts(train: Dataset, settings: Settings, seed: int) -> tuple[_Part, _Part]:
    """The rows of the inner and of the outer steps; the same ones for the same seed."""
    order = np.random.default_rng(seed).permutation(len(train))
    held_out = round(settings.held_out * len(train))
    if not 0 < held_out < len(train):
        raise SearchError(f"held_out {settings.held_out} leaves a part of {len(train)} training rows empty")
    outer, inner = (train.select(np.sort(rows)) for rows in (order[:held_out], order[held_out:]))
    return _Part(inner, settings.batch_size, seed), _Part(outer, settings.batch_size, seed)


# ---- checkpoints -----------------------------------------------------------------------------------------------------


def _save(path: Path, learner: _Learner, noise: torch.Generator, step: int) -> None:
    """All that a step changes, in one file that appears at once; tensors only, so nothing in it can be run."""
    tensors = {f"model.{name}": x for name, x in learner.student.state_dict().items()}
    for which, optimizer in (("inner", learner.inner), ("outer", learner.outer)):
        for number, state in optimizer.state_dict()["state"].items():
            tensors |= {f"{which}.{number}.{key}": x for key, x in state.items()}
    tensors["noise"] = noise.get_state()
    partial = path.with_suffix(".tmp")
    save_file({name: x.contiguous() for name, x in tensors.items()}, partial, metadata={"step": str(step)})
    os.replace(partial, path)


def _load(path: Path, learner: _Learner, noise: torch.Generator) -> int:
    """Put everything back as `_save` found it; the step to go on with, 0 where there is no checkpoint."""
    if not path.is_file():
        return 0
    with safe_open(path, "pt") as file:
        step, tensors = int(file.metadata()["step"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    noise.set_state(tensors.pop("noise"))
    learner.student.load_state_dict(
        {name.removeprefix("model."): x for name, x in tensors.items() if name.startswith("model.")}
    )
    for which, optimizer in (("inner", learner.inner), ("outer", learner.outer)):
        state: dict[int, dict[str, Tensor]] = {}
        for name, x in tensors.items():
            if name.startswith(f"{which}."):
                _, number, key = name.split(".")
                state.setdefault(int(number), {})[key] = x
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return step
