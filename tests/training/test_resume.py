"""A run that is killed and resumed ends with the same bits as one that never was."""

import json
import os
import shutil
import signal
import subprocess
import sys
from unittest import mock

import pytest

import bitbert
from bitbert.errors import CheckpointError
from bitbert.training.checkpoints import Checkpoints, last_checkpoint
from support import films

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = """
name: two-stages
description: learned ranges with a teacher, then on without one
bits: w4a8
weights: {all: {method: learned_range}}
activations: {all: {method: learned_range}, probs: {method: minmax}}
calibration: {batches: 2}
stages:
  - {epochs: 1.2, batch_size: 8, losses: {logits: 1.0, scores: 1.0, hidden: 1.0}}
  - {epochs: 2.0, batch_size: 8, learning_rate: 1.0e-3, warmup: 0.1, max_grad_norm: 0.0}
"""
STEPS = 15  # in an epoch: 120 reviews, 8 in a batch
FIRST = 18  # of the first stage, which ends within an epoch

# Trains with a checkpoint at every logged step, and kills itself once the given step of the given stage is done.
CHILD = """
import json, os, signal, sys
from pathlib import Path
import torch
import bitbert
from bitbert.training.checkpoints import Checkpoints
from support import films

torch.set_num_threads(1)
function, directory, arguments, stage, step = json.loads(sys.argv[1])
step_end = Checkpoints.on_step_end

def on_step_end(self, args, state, control, **kwargs):
    if Path(args.output_dir).name == stage and state.global_step == step:
        os.kill(os.getpid(), signal.SIGKILL)
    step_end(self, args, state, control, **kwargs)

Checkpoints.on_step_end = on_step_end
data = films.read(Path(directory))
getattr(bitbert, function)(task=data, progress=False, checkpoint_seconds=0, **arguments)
"""


def run_and_kill(function, directory, arguments, stage, step):
    """Run `function` in a process that kills itself in the midst of training."""
    task = json.dumps([function, str(directory), arguments, stage, step], default=str)
    paths = [os.path.dirname(os.path.dirname(__file__)), os.path.dirname(os.path.dirname(bitbert.__file__))]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-W", "error", "-c", CHILD, task], env=environment, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def bits(directory):
    return (directory / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "two-stages.yaml"
    path.write_text(RECIPE)
    return str(path)


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory, data, classifier, recipe):
    """The packed directory and the report of a run without a break, and without a checkpoint on the way."""
    output = tmp_path_factory.mktemp("whole") / "packed"
    return output, bitbert.quantize(classifier, data, output, recipe=recipe, seed=3, progress=False)


def test_quantize_killed_in_the_first_and_in_a_later_epoch(tmp_path, data, classifier, recipe, never_killed):
    output = tmp_path / "packed"
    arguments = {"model": classifier, "output": output, "recipe": recipe, "seed": 3, "resume": True}
    run_and_kill("quantize", tmp_path, arguments, "stage-0", 7)
    assert last_checkpoint(tmp_path / "packed.work" / "stage-0").name == "checkpoint-6"
    run_and_kill("quantize", tmp_path, arguments, "stage-1", STEPS + 6)
    assert last_checkpoint(tmp_path / "packed.work" / "stage-1").name == f"checkpoint-{STEPS + 5}"
    assert not output.exists()
    half_written = tmp_path / "packed.work" / "stage-1" / "checkpoint-29"
    shutil.copytree(tmp_path / "packed.work" / "stage-1" / f"checkpoint-{STEPS + 5}", half_written)
    (half_written / "trainer_state.json").write_text('{"best_glob')
    report = bitbert.quantize(task=data, progress=False, **arguments)
    assert bits(output) == bits(never_killed[0])
    assert [stage["loss"] for stage in report["stages"]] == [stage["loss"] for stage in never_killed[1]["stages"]]
    assert [stage["steps"] for stage in report["stages"]] == [FIRST, 2 * STEPS]
    assert not (tmp_path / "packed.work").exists()


def test_finetune_killed_in_a_later_epoch(tmp_path, data, encoder):
    arguments = {"model": encoder, "epochs": 3.0, "batch_size": 8, "learning_rate": 1e-3, "seed": 5}
    whole, output = tmp_path / "whole", tmp_path / "resumed"
    report = bitbert.finetune(task=data, output=whole, progress=False, **arguments)
    run_and_kill("finetune", tmp_path, arguments | {"output": output}, "finetune", STEPS + 8)
    again = bitbert.finetune(task=data, output=output, progress=False, resume=True, **arguments)
    assert bits(output) == bits(whole)
    assert (again["steps"], again["loss"]) == (report["steps"], report["loss"])


def test_the_same_seed_gives_the_same_weights_and_another_one_others(tmp_path, data, classifier, recipe, never_killed):
    results = {
        seed: bitbert.quantize(classifier, data, tmp_path / str(seed), recipe=recipe, seed=seed, progress=False)
        for seed in (3, 4)
    }
    assert bits(tmp_path / "3") == bits(never_killed[0])
    assert bits(tmp_path / "4") != bits(never_killed[0])
    assert results[3]["stages"][1]["loss"] == never_killed[1]["stages"][1]["loss"]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory, data, classifier, recipe):
    """The arguments of a run that Ctrl-C ended in the first epoch."""
    directory = tmp_path_factory.mktemp("interrupted")
    arguments = {"model": classifier, "output": directory / "packed", "recipe": recipe, "seed": 3}

    def at_step_nine(callback, args, state, control, **kwargs):
        if state.global_step == 9:
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with mock.patch.object(Checkpoints, "on_step_end", at_step_nine), pytest.raises(KeyboardInterrupt):
        bitbert.quantize(task=data, progress=False, checkpoint_seconds=0, **arguments)
    signal.signal(signal.SIGINT, before)
    assert [path.name for path in directory.iterdir()] == ["packed.work"]
    return arguments


def test_another_setting_is_named(tmp_path, data, interrupted):
    shorter = films.read(tmp_path, rows=112)
    for changes, named in [
        ({"seed": 4}, "holds a run with seed 3, not 4: give the same settings"),
        ({"bits": "w2a8"}, "holds a run with bits 'w4a8', not 'w2a8'"),
        ({"max_length": 16}, "holds a run with max_length 40, not 16"),
        ({"settings": ["stages.1.epochs=3"]}, "holds a run with recipe.stages.1.epochs 2.0, not 3"),
        ({"task": shorter}, "holds a run with data '"),
        ({"resume": False}, "was not finished: go on with --resume, or start anew with --overwrite"),
    ]:
        with pytest.raises(CheckpointError) as error:
            bitbert.quantize(**{"task": data, "progress": False, "resume": True} | interrupted | changes)
        assert named in str(error.value)
        assert "\n" not in str(error.value)


def test_an_interrupted_run_goes_on(data, interrupted, never_killed):
    bitbert.quantize(task=data, progress=False, resume=True, **interrupted)
    assert bits(interrupted["output"]) == bits(never_killed[0])
