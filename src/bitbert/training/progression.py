"""All stages of a recipe, one after the other: at which widths, from which weights, on which data, taught by whom.

A stage whose width differs from that of the model it starts from takes over the weights, and its scales start anew from
calibration (two-stage progressive quantization, Le et al. 2022). With the same width it goes on with the scales, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bitbert.prepare import prepare
from bitbert.recipes.schema import MODEL, Recipe, Stage
from bitbert.spec import QuantSpec
from bitbert.training.calibrate import calibrate
from bitbert.training.encode import some_batches
from bitbert.training.estimate import announce
from bitbert.training.reconstruct import reconstruct
from bitbert.training.stages import run_stage


@dataclass(frozen=True)
class QuantModel:
    """A model that was prepared for a spec, calibrated, and perhaps trained."""

    model: PreTrainedModel
    spec: QuantSpec


@dataclass(frozen=True)
class Progression:
    """What the stages of a run have in common.

    `fresh` gives the float model that they begin with, `teacher` the one that they learn from unless they say
    otherwise, `rows` the encoded training data of a stage (None: nothing added), `spec_of` its spec.
    """

    recipe: Recipe
    fresh: Callable[[], PreTrainedModel]
    teacher: PreTrainedModel
    rows: Callable[[Stage | None], Dataset]
    spec_of: Callable[[Stage | None], QuantSpec]
    tokenizer: PreTrainedTokenizerBase
    seed: int

    def run(
        self, work: Path, title: str | None, logs: Path, **how: Any
    ) -> tuple[PreTrainedModel, list[dict[str, Any]]]:
        """The model after the last stage, and the result of each (`run_stage`).

        Stage N keeps its checkpoints in `work`/stage-N and goes on from the one that it finds there, and writes events
        to `logs`/stage-N. `title` stands on the progress bars (None: no bars); `how` goes to `run_stage`.
        """
        stages: list[Stage] = self.recipe.stages
        if title and stages:
            announce(title, self.teacher, stages, self.rows, self.tokenizer, self.seed)
        finished: dict[str, QuantModel] = {}
        latest = None if stages else self.begin(self.spec_of(None), None)
        results = []
        for number, stage in enumerate(stages):
            source = finished.get(stage.start) if stage.start else latest  # `model` is never among the finished
            latest = self.begin(self.spec_of(stage), source)
            result = run_stage(
                latest.model,
                stage,
                self.rows(stage),
                self.tokenizer,
                work / f"stage-{number}",
                seed=self.seed,
                teacher=self._teacher(stage, finished),
                title=title and f"{title}{_place(number, stage, len(stages))}",
                logs=logs / f"stage-{number}",
                **how,
            )
            results.append(result)
            if stage.name:
                finished[stage.name] = latest
        assert latest is not None
        return latest.model, results

    def begin(self, spec: QuantSpec, source: QuantModel | None) -> QuantModel:
        """The float model, or the weights of `source`, at the widths of `spec`, with ranges that fit."""
        model = self.fresh()
        if source is None or source.spec != spec:
            if source is not None:
                model.load_state_dict(stock_weights(source.model))
            prepare(model, spec)
            how = self.recipe.calibration
            batches = some_batches(self.rows(None), self.tokenizer, how.batch_size, how.batches, self.seed)
            calibrate(model, batches, how)
            if source is None and self.recipe.reconstruction:
                reconstruct(model, self.fresh(), batches, self.recipe.reconstruction, seed=self.seed)
        else:
            prepare(model, spec).load_state_dict(source.model.state_dict())
        return QuantModel(model, spec)

    def _teacher(self, stage: Stage, finished: dict[str, QuantModel]) -> PreTrainedModel | None:
        if not stage.losses.needs_teacher:
            return None
        return self.teacher if stage.teacher == MODEL else finished[stage.teacher].model


def stock_weights(model: PreTrainedModel) -> dict[str, Any]:
    """The state of a prepared model without its quantizers: what the stock model holds."""
    return {name: x for name, x in model.state_dict().items() if "quantizer" not in name}


def _place(number: int, stage: Stage, count: int) -> str:
    return "" if count == 1 else f", stage {number + 1} of {count}" + (f" ({stage.bits})" if stage.bits else "")
