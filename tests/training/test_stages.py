"""One stage: what it reports and shows, and when it writes checkpoints."""

import json
from types import SimpleNamespace

import pytest
import torch
from transformers import Trainer

from bitbert.errors import CheckpointError
from bitbert.recipes.schema import Losses, Stage
from bitbert.training import checkpoints as module
from bitbert.training.checkpoints import AT_LEAST, SHARE, Checkpoints, last_checkpoint
from bitbert.training.encode import encode
from bitbert.training.models import load_finetuned
from bitbert.training.stages import run_stage

pytestmark = pytest.mark.usefixtures("one_thread")

STAGE = Stage(epochs=2.0, batch_size=30, losses=Losses())


@pytest.fixture
def run(tmp_path, data, tokenizer, classifier):
    """Trains the tiny float classifier for 8 steps, in `work`."""
    train = encode(data.split("train"), data.task, tokenizer, 32)

    def run(stage=STAGE, **how):
        model = load_finetuned(classifier, data.task)
        return run_stage(model, stage, train, tokenizer, tmp_path / "work", seed=1, **how)

    return run


def test_the_report_of_a_stage(run):
    report = run()
    assert report["stage"] == STAGE.model_dump()
    assert report["steps"] == 8
    assert 0.3 < report["loss"] < 1.2
    assert 0 < report["seconds"] < 60
    assert isinstance(report["bfloat16"], bool)


def test_student_and_teacher_compute_in_bfloat16_and_then_in_float32_again(
    monkeypatch, tmp_path, data, tokenizer, classifier
):
    monkeypatch.setattr("bitbert.training.trainer.bfloat16_is_fast", lambda: True)
    student, teacher = (load_finetuned(classifier, data.task) for _ in range(2))
    train = encode(data.split("train"), data.task, tokenizer, 32)
    seen = {student: [], teacher: []}
    for model, autocast in seen.items():
        model.classifier.register_forward_hook(lambda *_, to=autocast: to.append(torch.is_autocast_enabled("cpu")))
    stage = STAGE.model_copy(update={"losses": Losses(logits=1.0)})
    assert run_stage(student, stage, train, tokenizer, tmp_path / "work", seed=1, teacher=teacher)["bfloat16"]
    for model, autocast in seen.items():
        model(input_ids=torch.tensor([train[0]["input_ids"]]))
        assert autocast == [True] * 8 + [False]


def test_a_stage_that_is_done_is_not_trained_again(run, monkeypatch):
    report = run(checkpoint_seconds=0)
    monkeypatch.setattr(Trainer, "training_step", None)
    again = run()
    assert again["loss"] == report["loss"]
    assert again["steps"] == report["steps"]
    assert again["seconds"] > 0  # what went before is counted


def test_nothing_is_shown_unless_asked(run, capfd):
    run()
    assert capfd.readouterr() == ("", "")


def test_the_progress_bar_goes_to_standard_error(run, capfd):
    run(title="kdlsq w4a8")
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "kdlsq w4a8" in shown.err
    assert "8/8 steps" in shown.err
    assert "loss" in shown.err


def test_an_interrupted_bar_gives_the_terminal_back(run, monkeypatch):
    stopped = []
    monkeypatch.setattr("bitbert.training.progress.ProgressBar.stop", lambda bar: stopped.append(bar))
    monkeypatch.setattr(Trainer, "training_step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(title="kdlsq w4a8")
    assert len(stopped) == 1


def interrupt(*arguments, **options):
    raise KeyboardInterrupt


def test_tensorboard_gets_the_losses(run, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    report = run(report_to="tensorboard", logs=tmp_path / "runs")
    (file,) = (tmp_path / "runs").iterdir()
    events = EventAccumulator(str(file)).Reload()
    losses = events.Scalars("train/loss")
    assert [event.step for event in losses] == list(range(1, 9))
    assert losses[-1].value == pytest.approx(report["loss"])


def test_a_disk_that_fills_up_ends_the_run_with_one_line(run, monkeypatch, tmp_path):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CheckpointError, match="work cannot be written: No space left on device"):
        run()


# ---- checkpoints -----------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(module.time, "perf_counter", lambda: now.seconds)
    return now


def saved_at(callback, clock, logs, *, writing=0.0, history=()):
    """The times, of those in `logs`, at which `callback` asks for a checkpoint; each takes `writing` seconds."""
    state, control, saved = SimpleNamespace(log_history=list(history)), SimpleNamespace(should_save=False), []
    callback.on_train_begin(None, state, control)
    for time in logs:
        clock.seconds = max(time, clock.seconds)
        state.log_history.append({})
        callback.on_log(None, state, control)
        if control.should_save:
            saved.append(time)
            clock.seconds += writing
            callback.on_save(None, state, control)
            control.should_save = False
    return saved, [entry["seconds"] for entry in state.log_history]


def test_checkpoints_take_no_more_than_their_share_of_the_time(clock):
    cheap, _ = saved_at(Checkpoints(), clock, range(0, 601, 5), writing=0.1)
    assert cheap[:3] == [30, 65, 100]
    clock.seconds = 0.0
    dear, _ = saved_at(Checkpoints(), clock, range(0, 2001, 5), writing=6.0)
    assert dear == [AT_LEAST, 340, 650, 960, 1270, 1580, 1890]
    assert 6.0 / (dear[2] - dear[1]) <= SHARE


def test_an_interval_that_was_asked_for_is_kept(clock):
    assert saved_at(Checkpoints(0), clock, [1, 2, 3], writing=9.0)[0] == [1, 2, 3]
    clock.seconds = 0.0
    assert saved_at(Checkpoints(100), clock, range(0, 400, 30))[0] == [120, 240, 360]


def test_the_clock_goes_on_where_the_run_was_cut_off(clock):
    clock.seconds = 1000.0
    _, seconds = saved_at(Checkpoints(), clock, [1007], history=[{"seconds": 40.0}, {"seconds": 45.0}])
    assert seconds == [40.0, 45.0, 52.0]


def test_the_newest_whole_checkpoint_counts_and_halves_are_removed(tmp_path):
    assert last_checkpoint(tmp_path) is None
    for step, state in {90: {}, 100: {}, 110: None, 120: '{"epo'}.items():
        path = tmp_path / f"checkpoint-{step}"
        path.mkdir()
        if state is not None:
            (path / "trainer_state.json").write_text(state if isinstance(state, str) else json.dumps(state))
    (tmp_path / "notes").mkdir()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-100"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-100", "checkpoint-90", "notes"]
