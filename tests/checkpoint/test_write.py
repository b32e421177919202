"""Writing: what is written is read back equal, and a directory is there whole or not at all."""

import errno
import json
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from bitbert.checkpoint import atomic, read, write
from bitbert.errors import CheckpointError
from bitbert.spec import QuantSpec
from support.random_model import ARCHITECTURES, random_model, tiny_config, with_mixed_groups

ASYMMETRIC = {kind: {"symmetric": False} for kind in ("linear_input", "query", "probs", "gelu_input", "pooler_input")}
SPECS = {
    "w8a8": QuantSpec.uniform(8, 8),
    "w4a4-row": QuantSpec.uniform(4, 4, weights={"all": {"granularity": "row"}}),
    "w2a8-base3-asymmetric": QuantSpec.uniform(2, 8, weights={"all": {"packing": "base3"}}, activations=ASYMMETRIC),
    "w1a1-float32": QuantSpec.uniform(1, 1, leftovers="float32"),
    "per-token": QuantSpec.uniform(3, 8, activations={"linear_input": {"scale": "per_token"}}),
    "mixed": with_mixed_groups(QuantSpec.uniform(4, 8, activations={"gelu_input": {"bits": None}}), tiny_config()),
}


def assert_equal(one, other):
    assert (one.config, one.spec, one.activations) == (other.config, other.spec, other.activations)
    assert one.weights.keys() == other.weights.keys()
    for name, weight in one.weights.items():
        assert (weight.shape, weight.head_dim) == (other.weights[name].shape, other.weights[name].head_dim)
        np.testing.assert_array_equal(weight.codes(), other.weights[name].codes())
        np.testing.assert_array_equal(weight.scale, other.weights[name].scale)
    assert one.floats.keys() == other.floats.keys()
    for name, value in one.floats.items():
        np.testing.assert_array_equal(value, other.floats[name], strict=True)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_read_gives_back_what_was_written(tmp_path, spec):
    model = random_model(spec)
    assert_equal(model, read(write(model, tmp_path / "model")))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_names_on_disk_are_those_of_hugging_face(tmp_path, architecture):
    model = random_model(config=tiny_config(architecture))
    assert_equal(model, read(write(model, tmp_path / "model")))
    with safe_open(tmp_path / "model" / "model.safetensors", "np") as file:  # a stock reader takes the file
        names = set(file.keys())
    prefix = "" if architecture == "BertModel" else "bert."
    layer = f"{prefix}encoder.layer.0"
    assert {
        f"{prefix}embeddings.word_embeddings.weight_packed",
        f"{layer}.attention.self.query.weight_scale",
        f"{layer}.attention.self.input_scale",
        f"{layer}.attention.self.key.output_scale",
        f"{layer}.attention.self.probs_scale",
        f"{layer}.intermediate.intermediate_act_fn.input_scale",
        f"{layer}.output.LayerNorm.weight",
    } <= names
    heads = {"BertForQuestionAnswering": "qa_outputs", "BertModel": None}
    head = heads.get(architecture, "classifier")
    assert {name for name in names if not name.startswith(("bert.", "encoder", "embeddings", "pooler"))} == (
        {f"{head}.weight", f"{head}.bias"} if head else set()
    )
    assert (f"{prefix}pooler.dense.weight_packed" in names) == (architecture in ARCHITECTURES[:2])


def test_files_and_report_stand_beside_the_model(tmp_path):
    path = write(random_model(), tmp_path / "a" / "b", files={"vocab.txt": b"x\n"}, report={"seed": 1})
    assert sorted(os.listdir(path)) == ["config.json", "model.safetensors", "report.json", "vocab.txt"]
    assert (path / "vocab.txt").read_bytes() == b"x\n"
    assert json.loads((path / "report.json").read_text()) == {"seed": 1}


def test_a_figure_that_is_not_finite_is_null_in_the_report(tmp_path):
    path = write(random_model(), tmp_path / "model", report={"splits": [{"pearson": float("nan"), "texts": 3}]})
    assert json.loads((path / "report.json").read_text()) == {"splits": [{"pearson": None, "texts": 3}]}


def test_writing_the_same_model_twice_gives_the_same_bytes(tmp_path):
    one, other = (write(random_model(), tmp_path / name) for name in "ab")
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "../x", "a/b", "", ".."])
def test_a_file_cannot_replace_ours_or_leave_the_directory(tmp_path, name):
    with pytest.raises(CheckpointError, match="expected a plain file name"):
        write(random_model(), tmp_path / "model", files={name: b""})
    assert os.listdir(tmp_path) == []


# ---- What cannot be written ------------------------------------------------------------------------------------------


def break_float(model):
    return {"floats": model.floats | {"classifier.bias": np.array([1e6, 0], np.float32)}}  # inf in float16


def drop_float(model):
    return {"floats": {name: value for name, value in model.floats.items() if name != "classifier.bias"}}


def underflow_scale(model):
    name = "encoder.layer.0.attention.self.probs"
    return {"activations": model.activations | {name: type(model.activations[name])(1e-9, 0)}}


def foreign_spec(model):
    return {"spec": QuantSpec.uniform(8, 8, weights={"pooler": {"bits": 4}})}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_float, "classifier.bias holds a value that is not finite"),
        (drop_float, "classifier.bias is missing"),
        (underflow_scale, "self.probs: the scale is 0.0"),
        (foreign_spec, "pooler.dense.weight was packed with another spec"),
    ],
)
def test_a_model_that_could_not_be_read_back_is_not_written(tmp_path, damage, message):
    model = random_model()
    broken = type(model)(**(vars(model) | damage(model)))
    with pytest.raises(CheckpointError, match=message):
        write(broken, tmp_path / "model")
    assert os.listdir(tmp_path) == []


# ---- All at once -----------------------------------------------------------------------------------------------------


def test_an_existing_target_is_refused_unless_it_may_be_overwritten(tmp_path):
    path = write(random_model(seed=1), tmp_path / "model")
    with pytest.raises(CheckpointError, match="model exists: choose another directory"):
        write(random_model(seed=2), path)
    assert_equal(read(path), random_model(seed=1))
    write(random_model(seed=2), path, overwrite=True)
    assert_equal(read(path), random_model(seed=2))
    assert os.listdir(tmp_path) == ["model"]


def test_overwriting_never_deletes_what_is_not_ours(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match="is not a bitbert directory and is not overwritten"):
        write(random_model(), tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_without_atomic_exchange_the_old_directory_steps_aside(tmp_path, monkeypatch):
    path = write(random_model(seed=1), tmp_path / "model")
    monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)
    write(random_model(seed=2), path, overwrite=True)
    assert_equal(read(path), random_model(seed=2))
    assert os.listdir(tmp_path) == ["model"]


def test_a_file_system_without_locks_can_be_written(tmp_path, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(atomic.fcntl, "flock", refuse)
    (tmp_path / ".model.0.tmp").mkdir()  # perhaps still being written: without locks, nobody knows
    assert_equal(read(write(random_model(), tmp_path / "model")), random_model())
    assert sorted(os.listdir(tmp_path)) == [".model.0.tmp", "model"]


def test_overwriting_leaves_no_moment_without_a_model(tmp_path):
    path = write(random_model(seed=0), tmp_path / "model")
    done, failures = threading.Event(), []

    def watch():
        while not done.is_set():
            try:
                (path / "config.json").stat()
            except OSError as error:
                failures.append(error)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for seed in range(8):
        write(random_model(seed=seed), path, overwrite=True)
    done.set()
    watcher.join()
    assert failures == []


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="model cannot be written: No space left on device"):
        write(random_model(), tmp_path / "model")
    assert os.listdir(tmp_path) == []


def run_python(code, directory, **options):
    paths = [str(Path(__file__).parents[1]), *sys.path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen([sys.executable, "-c", code, str(directory)], env=environment, text=True, **options)


WRITE = """
import sys
from support.random_model import random_model
from bitbert.checkpoint import write
from bitbert.errors import BitbertError
try:
    write(random_model(seed=2), sys.argv[1], overwrite=True)
except BitbertError as error:
    sys.exit(str(error))
"""


def test_a_file_that_the_system_cuts_short_is_one_clear_error(tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    process = run_python(WRITE, tmp_path / "model", stderr=subprocess.PIPE, preexec_fn=limit)
    assert process.communicate()[1] == f"{tmp_path}/model cannot be written: File too large\n"
    assert process.returncode == 1
    assert os.listdir(tmp_path) == []


HANG_AT_SYNC = """
import os, sys, time
count = 0
def fsync(descriptor):
    global count
    count += 1
    if count == int(os.environ["HANG_AT"]):
        print("hanging", flush=True)
        time.sleep(60)
os.fsync = fsync
"""


# Files are synced one by one (1 to 3), then the new directory (4), then, once it is in its place, the parent (5).
@pytest.mark.parametrize("hang_at", [1, 2, 3, 4, 5])
def test_kill_while_writing_leaves_the_old_or_the_new_directory(tmp_path, monkeypatch, hang_at):
    path = write(random_model(seed=1), tmp_path / "model")
    monkeypatch.setenv("HANG_AT", str(hang_at))
    process = run_python(HANG_AT_SYNC + WRITE, path, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "hanging\n"
    process.kill()
    process.communicate()
    assert len(os.listdir(tmp_path)) == 2  # the model, and what the killed run left
    assert_equal(read(path), random_model(seed=1 if hang_at < 5 else 2))
    write(random_model(seed=3), path, overwrite=True)
    assert_equal(read(path), random_model(seed=3))
    assert os.listdir(tmp_path) == ["model"]


def test_a_directory_that_is_being_written_is_not_cleaned_up(tmp_path):
    with atomic.new_directory(tmp_path / "model", replace=False) as first:
        write(random_model(seed=1), tmp_path / "model")
        assert first.is_dir()
        read(tmp_path / "model")
        (tmp_path / "model").rename(tmp_path / "moved")
    assert sorted(os.listdir(tmp_path)) == ["model", "moved"]
