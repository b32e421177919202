"""The work directory: begun, gone on with, refused, removed; and what a disk can do to it."""

import os
import resource
from contextlib import suppress

import pytest
import torch
from safetensors.torch import save_file

from bitbert.errors import CheckpointError
from bitbert.training.work import check_free, disk_errors, work_directory

SETTINGS = {"seed": 1, "recipe": {"stages": [{"epochs": 3.0, "dropout": None}]}}


def begin(output, settings=SETTINGS, chosen=None, resume=False, overwrite=False):
    return work_directory(output, chosen, settings, resume=resume, overwrite=overwrite)


def cut_off(output, settings=SETTINGS, **how):
    """A run that dies after its first checkpoint."""
    with suppress(ZeroDivisionError), begin(output, settings, **how) as path:
        (path / "stage-0" / "checkpoint-1").mkdir(parents=True)
        raise ZeroDivisionError
    return path


def test_removed_when_all_went_well(tmp_path):
    with begin(tmp_path / "out") as path:
        assert path == tmp_path / "out.work"
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_was_cut_off_is_gone_on_with(tmp_path):
    path = cut_off(tmp_path / "out")
    with begin(tmp_path / "out", resume=True) as again:
        assert (again / "stage-0" / "checkpoint-1").is_dir()
    assert not path.exists()


def test_the_setting_that_differs_is_named(tmp_path):
    cut_off(tmp_path / "out")
    other = {"seed": 1, "recipe": {"stages": [{"epochs": 3.0, "dropout": 0.1}]}}
    with pytest.raises(CheckpointError, match=r"recipe\.stages\.0\.dropout None, not 0\.1"):
        begin(tmp_path / "out", other, resume=True).__enter__()
    with pytest.raises(CheckpointError, match=r"recipe\.stages\.0\.epochs 3\.0, not None"):
        begin(tmp_path / "out", {"seed": 1}, resume=True).__enter__()


def test_checkpoints_are_not_thrown_away_unasked(tmp_path):
    path = cut_off(tmp_path / "out")
    with pytest.raises(CheckpointError, match="go on with --resume, or start anew with --overwrite"):
        begin(tmp_path / "out").__enter__()
    assert (path / "stage-0" / "checkpoint-1").is_dir()
    with begin(tmp_path / "out", overwrite=True) as path:
        assert not (path / "stage-0").exists()


def test_two_runs_do_not_share_it(tmp_path):
    with begin(tmp_path / "out") as path:
        (path / "stage-0").mkdir()
        for flags in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(CheckpointError, match=r"out\.work is in use: another run is writing to it"):
                begin(tmp_path / "out", **flags).__enter__()
        assert (path / "stage-0").is_dir()


def test_a_run_without_checkpoints_is_begun_anew(tmp_path):
    with pytest.raises(ZeroDivisionError), begin(tmp_path / "out"):
        raise ZeroDivisionError
    with begin(tmp_path / "out", {"seed": 2}) as path:
        assert path.is_dir()


def test_resume_where_nothing_was_begun_begins(tmp_path):
    with begin(tmp_path / "out", resume=True) as path:
        assert (path / "settings.json").is_file()


@pytest.mark.parametrize("flags", [{}, {"resume": True}, {"overwrite": True}])
def test_a_directory_of_somebody_else_is_left_alone(tmp_path, flags):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    (tmp_path / "notes").write_text("notes")
    for name in ("photos", "notes"):
        with pytest.raises(CheckpointError, match=f"{name} is not a work directory of bitbert"):
            begin(tmp_path / "out", chosen=tmp_path / name, **flags).__enter__()
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"cat"


def test_settings_that_cannot_be_read(tmp_path):
    (cut_off(tmp_path / "out") / "settings.json").write_text('{"se')
    with pytest.raises(CheckpointError, match=r"settings\.json cannot be read"):
        begin(tmp_path / "out", resume=True).__enter__()


def test_a_place_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written: Not a directory"):
        begin(tmp_path / "file" / "out").__enter__()


@pytest.mark.parametrize("save", [save_file, torch.save], ids=["safetensors", "torch"])
def test_a_full_disk_is_one_line(tmp_path, save):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))  # stands in for a full disk
    try:
        with pytest.raises(CheckpointError) as error, disk_errors(tmp_path):
            save({"weight": torch.zeros(10_000)}, tmp_path / "weights")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(error.value).startswith(f"{tmp_path} cannot be written: ")
    assert "\n" not in str(error.value)


def test_faults_of_ours_are_not_blamed_on_the_disk(tmp_path):
    with pytest.raises(RuntimeError, match="shape"), disk_errors(tmp_path):
        raise RuntimeError("shape")


def test_an_output_that_is_there(tmp_path):
    out = tmp_path / "out"
    check_free(out, overwrite=False)
    out.mkdir()
    with pytest.raises(CheckpointError, match="exists: choose another directory, or overwrite it with --overwrite"):
        check_free(out, overwrite=False)
    check_free(out, overwrite=True)
    (out / "notes.txt").write_text("")
    with pytest.raises(CheckpointError, match="is not a model directory and is not overwritten"):
        check_free(out, overwrite=True)
    (out / "config.json").write_text("{}")
    check_free(out, overwrite=True)
    os.symlink(tmp_path / "gone", tmp_path / "link")
    with pytest.raises(CheckpointError, match="exists"):
        check_free(tmp_path / "link", overwrite=False)
