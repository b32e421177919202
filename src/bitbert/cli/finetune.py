"""`bitbert finetune`: a pretrained encoder + labelled texts -> a float checkpoint, which `quantize` starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bitbert.cli import options
from bitbert.cli.output import print_json, say


@options.with_data
def finetune(
    model: Annotated[str, typer.Argument(help="Directory of a Hugging Face encoder; a hub name with --download.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write.")],
    *,
    data: options.DataOptions,
    max_train: options.MaxTrain = None,
    epochs: Annotated[float, typer.Option("--epochs", min=0.01, rich_help_panel="Run")] = 3.0,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, rich_help_panel="Run")] = 32,
    learning_rate: Annotated[float, typer.Option("--learning-rate", min=0.0, rich_help_panel="Run")] = 5e-5,
    max_length: options.MaxLength = None,
    seed: options.Seed = 42,
    work_dir: options.WorkDir = None,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    tensorboard: options.TensorBoard = False,
    as_json: options.Json = False,
) -> None:
    """Fine-tune an encoder in float32 on a task or on your own texts, questions or tagged words.

    Examples:

    \b
    bitbert finetune ./minilm --task sst2 --data-dir ./data -o sst2-float
    bitbert finetune ./minilm --train-file mails.csv --text-column body -o mails-float
    bitbert finetune ./minilm --task squad --data-dir ./data --epochs 2 -o squad-float
    bitbert finetune ./minilm --contents tagging --train-file names.jsonl -o names-float
    """
    task_data = data.read(max_train=max_train)
    from bitbert.training.evaluate import evaluate
    from bitbert.training.finetune import finetune as run

    report = run(
        model,
        task_data,
        output,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        max_length=max_length,
        seed=seed,
        resume=resume,
        overwrite=overwrite,
        report_to="tensorboard" if tensorboard else "none",
        download=data.download,
        work_dir=work_dir,
    )
    held_out = [split for split in task_data.splits if split != "train"]
    report["splits"] = evaluate(output, task_data, held_out, max_length=report["max_length"])
    if as_json:
        print_json(report)
        return
    for split in held_out:
        metric = task_data.task.main_metric
        say(f"{split}: {metric} {report['splits'][split][metric]:.2f} on {len(task_data.split(split))} texts")
    say(f"Next: bitbert quantize {output} --bits w4a8 -o {output}-w4a8, with the same data options")
