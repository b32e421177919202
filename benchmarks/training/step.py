"""Time of one training step: quantized with distillation, beside plain float32 fine-tuning.

    python benchmarks/training/step.py --model DIR --data-dir DIR [--bits w4a8] [--steps 20] [--output results.json]

Both sides are transformers' `Trainer` on the same batches (MRPC, 32 pairs, grouped by length), taken in turn, one step
each; the float32 side has its defaults (fused AdamW, clipping, dropout). A step is forward, backward, clipping,
optimizer, zeroing of gradients; data loading is left out. The figure is the median of the ratios of neighbouring steps.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer, TrainingArguments

from bitbert.bench.records import commit, write_json
from bitbert.prepare import prepare
from bitbert.recipes.schema import load_recipe
from bitbert.training.calibrate import calibrate
from bitbert.training.data import load_task
from bitbert.training.encode import encode, some_batches
from bitbert.training.models import load_finetuned, load_pretrained, load_tokenizer
from bitbert.training.results import machine
from bitbert.training.trainer import QuantTrainer, arguments

WARM_UP = 3


def stepper(trainer: Trainer) -> Callable[[dict[str, Tensor]], float]:
    """A function that takes one step on a batch and returns its seconds."""
    trainer.create_optimizer_and_scheduler(num_training_steps=10_000)
    trainer.current_gradient_accumulation_steps = 1
    model, limit = trainer.accelerator.prepare(trainer.model), trainer.args.max_grad_norm

    def step(batch: dict[str, Tensor]) -> float:
        started = time.perf_counter()
        trainer.training_step(model, dict(batch))
        if limit:
            torch.nn.utils.clip_grad_norm_(model.parameters(), limit)
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
        trainer.callback_handler.on_optimizer_step(trainer.args, trainer.state, trainer.control)
        model.zero_grad()
        return time.perf_counter() - started

    return step


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory() as directory:
        data = load_task("mrpc", data_dir=options.data_dir)
        tokenizer = load_tokenizer(options.model)
        train = encode(data.split("train"), data.task, tokenizer, 128)
        batches = some_batches(train, tokenizer, 32, options.steps + WARM_UP, seed=0)
        for batch in batches:
            batch["labels"] = torch.zeros(len(batch["input_ids"]), dtype=torch.long)
        plain = plain_trainer(options, data, train, tokenizer, Path(directory))
        ours = quantized_trainer(options, data, train, tokenizer, Path(directory))
        for batch in batches[:WARM_UP]:
            plain(batch), ours(batch)
        times = [(plain(batch), ours(batch)) for batch in batches[WARM_UP:]]
    report(options, times, [tuple(b["input_ids"].shape) for b in batches[WARM_UP:]])


def plain_trainer(options: Any, data: Any, train: Any, tokenizer: Any, directory: Path) -> Callable[..., float]:
    on_cpu = not torch.cuda.is_available()
    args = TrainingArguments(str(directory / "plain"), per_device_train_batch_size=32, use_cpu=on_cpu, report_to="none")
    return stepper(Trainer(load_pretrained(options.model, data.task), args, train_dataset=train))


def quantized_trainer(options: Any, data: Any, train: Any, tokenizer: Any, directory: Path) -> Callable[..., float]:
    recipe = load_recipe("kdlsq")
    model, stage = load_finetuned(options.model, data.task), recipe.stages[0]
    prepare(model, recipe.spec(options.bits))
    calibrate(model, some_batches(train, tokenizer, 32, 4, seed=1), recipe.calibration)
    args = arguments(stage, directory / "ours", seed=0)
    teacher = load_finetuned(options.model, data.task, scores=True)
    return stepper(QuantTrainer(model, stage, args, train, tokenizer, teacher=teacher))


def report(options: Any, times: list[tuple[float, float]], shapes: list[tuple[int, ...]]) -> None:
    plain, ours = zip(*times, strict=True)
    result = {
        "command": f"python benchmarks/training/step.py --bits {options.bits} --steps {options.steps}",
        "commit": commit(Path(__file__).parent),
        "machine": machine(),
        "tokens": [rows * columns for rows, columns in shapes],
        "float32_seconds": plain,
        "quantized_seconds": ours,
        "median_ratio": statistics.median(b / a for a, b in times),
    }
    summary = f"float32 {statistics.median(plain):.3f} s, {options.bits} {statistics.median(ours):.3f} s, "
    print(summary + f"ratio {result['median_ratio']:.2f} (median of {len(times)} pairs)", file=sys.stderr)
    if options.output:
        write_json(options.output, result)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a fine-tuned classifier with two labels")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--bits", default="w4a8")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
