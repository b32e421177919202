"""The training loop: transformers' `Trainer` with a teacher, three learning rates and batches whose order survives a
restart.

It trains plain float models too (a recipe without a teacher). What is trained is said by a `Stage`; nothing here knows
recipes by name.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.utils.data import Sampler
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from bitbert.layers.product import dequantize
from bitbert.prepare import base_model
from bitbert.quantizers import Quantized
from bitbert.recipes.schema import Losses, Stage
from bitbert.training.distill import (
    attention_loss,
    hidden_loss,
    last_of_blocks,
    logits_loss,
    scores_loss,
    span_loss,
    value_loss,
)
from bitbert.training.encode import IGNORED, INPUTS, LengthGroupedSampler, collator
from bitbert.training.parameters import PositiveScales, parameter_kind


class QuantTrainer(Trainer):
    """Trains `model` on `train_dataset` (encoded) as `stage` says, beside a frozen `teacher` if its losses need one."""

    def __init__(
        self,
        model: PreTrainedModel,
        stage: Stage,
        args: TrainingArguments,
        train_dataset: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        *,
        teacher: PreTrainedModel | None = None,
    ) -> None:
        """`train_dataset` has the columns of `bitbert.training.encode.encode`."""
        self.stage, self.teacher = stage, teacher
        super().__init__(model, args, collator(train_dataset, tokenizer), train_dataset, processing_class=tokenizer)
        # The loss is a mean over the batch whatever the number of label items, so Trainer must not rescale it.
        self.model_accepts_loss_kwargs = False
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)
        self.add_callback(_KeepScalesPositive(model))
        if stage.dropout is not None:
            set_dropout(model, stage.dropout)
        if teacher is not None:
            if stage.losses.last_values:
                self._values = _LastValues(model, teacher)
            nn.Module.to(teacher, args.device).eval().requires_grad_(False)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int]:
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        sampler = LengthGroupedSampler(list(dataset["length"]), self.args.train_batch_size, self.args.seed)
        self.add_callback(_FollowEpoch(sampler))
        return sampler

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW over weights, weight scales and activation scales, each with its own rate and decay."""
        if self.optimizer is None:
            cls, kwargs = self.get_optimizer_cls_and_kwargs(self.args)
            self.optimizer = cls(self._parameter_groups(), **kwargs)
        return self.optimizer

    def _parameter_groups(self) -> list[dict[str, Any]]:
        stage = self.stage
        settings = {
            "weights": (stage.learning_rate, stage.weight_decay),
            "no_decay": (stage.learning_rate, 0.0),
            "weight_scales": (stage.weight_scale_learning_rate, stage.weight_scale_decay),
            "activation_scales": (stage.activation_scale_learning_rate, stage.activation_scale_decay),
        }
        assert self.model is not None
        decayed = set(self.get_decay_parameter_names(self.model))
        groups: dict[str, list[nn.Parameter]] = {name: [] for name in settings}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                kind = parameter_kind(name)
                groups["no_decay" if kind == "weights" and name not in decayed else kind].append(parameter)
        return [
            {"params": groups[name], "lr": rate, "weight_decay": decay}
            for name, (rate, decay) in settings.items()
            if groups[name]
        ]

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, Any]:
        """Weighted sum of the stage's losses."""
        losses = self.stage.losses
        inputs = {name: x for name, x in inputs.items() if name != "length"}
        wanted = {"output_attentions": losses.needs_scores, "output_hidden_states": bool(losses.hidden)}
        student = model(**inputs, **wanted)
        loss = losses.labels * student.loss
        if losses.needs_teacher:
            loss = loss + self._distillation(student, inputs, wanted)
        return (loss, student) if return_outputs else loss

    def _distillation(self, student: Any, inputs: dict[str, Tensor], wanted: dict[str, bool]) -> Tensor:
        assert self.teacher is not None
        with torch.no_grad(), self.accelerator.autocast():
            teacher = self.teacher(**{name: inputs[name] for name in INPUTS}, **wanted)
        losses, mask = self.stage.losses, inputs["attention_mask"]
        terms = []
        if losses.logits:
            terms.append(losses.logits * _outputs_loss(student, teacher, inputs))
        if losses.needs_scores:
            terms += _attention_terms(losses, student.attentions, teacher.attentions, mask)
        if losses.hidden:
            ours, theirs = student.hidden_states, teacher.hidden_states
            theirs = [theirs[0], *last_of_blocks(theirs[1:], len(ours) - 1)]
            terms.append(losses.hidden * hidden_loss(ours, theirs, mask))
        if losses.last_values:
            heads = self.teacher.config.num_attention_heads
            terms.append(losses.last_values * value_loss(self._values.student, self._values.teacher, heads, mask))
        return torch.stack(terms).sum()


def _attention_terms(losses: Losses, ours: Sequence[Tensor], theirs: Sequence[Tensor], mask: Tensor) -> list[Tensor]:
    theirs = last_of_blocks(theirs, len(ours))
    terms = []
    if losses.scores:
        terms.append(losses.scores * scores_loss(ours, theirs, mask))
    if losses.attention:
        terms.append(losses.attention * attention_loss(ours, theirs, mask))
    if losses.last_attention:
        terms.append(losses.last_attention * attention_loss(ours[-1:], theirs[-1:], mask))
    return terms


class _LastValues:
    """What the value projection of the last layer gave in the latest forward pass of student and teacher."""

    student: Tensor
    teacher: Tensor

    def __init__(self, student: PreTrainedModel, teacher: PreTrainedModel) -> None:
        for name, model in (("student", student), ("teacher", teacher)):
            layer = base_model(model).get_submodule(f"encoder.layer.{model.config.num_hidden_layers - 1}")
            layer.get_submodule("attention.self.value").register_forward_hook(partial(self._keep, name))

    def _keep(self, name: str, module: nn.Module, args: Any, output: Tensor | Quantized) -> None:
        setattr(self, name, dequantize(output) if isinstance(output, Quantized) else output)


def _outputs_loss(student: Any, teacher: Any, inputs: dict[str, Tensor]) -> Tensor:
    """The loss on what the head gives: for a text, for start and end of an answer, or for each labelled token."""
    if "start_positions" in inputs:
        pairs = ((student.start_logits, teacher.start_logits), (student.end_logits, teacher.end_logits))
        return torch.stack([span_loss(s.float(), t.float(), inputs["attention_mask"]) for s, t in pairs]).sum()
    ours, theirs = student.logits.float(), teacher.logits.float()
    labelled = inputs["labels"] != IGNORED
    return logits_loss(ours[labelled], theirs[labelled]) if ours.dim() == 3 else logits_loss(ours, theirs)


def arguments(
    stage: Stage, work_dir: Path, seed: int, *, logging_steps: int = 50, report_to: str = "none"
) -> TrainingArguments:
    """Training arguments of one stage: bfloat16 where it is fast, CUDA where there is one.

    Checkpoints are left to `bitbert.training.checkpoints.Checkpoints`; without it there is one, at the end.
    """
    return TrainingArguments(
        output_dir=str(work_dir),
        num_train_epochs=stage.epochs,
        per_device_train_batch_size=stage.batch_size,
        learning_rate=stage.learning_rate,
        warmup_steps=stage.warmup,
        adam_beta2=stage.adam_beta2,
        max_grad_norm=stage.max_grad_norm,
        use_cpu=not torch.cuda.is_available(),
        bf16=bfloat16_is_fast(),
        seed=seed,
        save_steps=sys.maxsize,
        save_total_limit=1,
        logging_steps=logging_steps,
        report_to=report_to,
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def bfloat16_is_fast() -> bool:
    """Whether bfloat16 multiplies faster than float32 here: CUDA from Ampere on, CPUs with AMX or AVX512-BF16."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def set_dropout(model: nn.Module, p: float) -> None:
    """Dropout probability of every dropout layer."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = p


class _KeepScalesPositive(TrainerCallback):
    """Clamps learned scales after every optimizer step."""

    def __init__(self, model: nn.Module) -> None:
        self._scales = PositiveScales(model)

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._scales.clamp_()


class _FollowEpoch(TrainerCallback):
    """Tells the sampler which epoch begins, also after a restart in the middle of one."""

    def __init__(self, sampler: LengthGroupedSampler) -> None:
        self._sampler = sampler

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._sampler.epoch = int(state.epoch or 0)
