"""Rounds: everyone once a turn, turns begin with another each time, the budget ends it, failures are left out."""

import pytest

from bitbert.bench.rounds import MIN_ROUNDS, Budget, RacerError, interleave


class Racer:
    def __init__(self, name, log, seconds=1.0, fails_at=None):
        self.name, self._log, self._seconds, self._fails_at, self._runs = name, log, seconds, fails_at, 0

    def run(self, batch):
        self._log.append((self.name, batch))
        self._runs += 1
        if self._runs == self._fails_at:
            raise RacerError("out of breath")
        return self._seconds


def race(racers, batches=1, budget=None, clock=lambda: 0.0):
    """(seconds, rounds that were reported, failures)."""
    rounds, failures = [], []
    seconds = interleave(
        racers,
        batches,
        budget or Budget(3),
        on_round=rounds.append,
        on_failure=lambda racer, error: failures.append((racer.name, str(error))),
        clock=clock,
    )
    return seconds, rounds, failures


def test_everyone_once_a_turn_and_the_first_changes():
    log = []
    seconds, rounds, failures = race([Racer(name, log) for name in "abc"], budget=Budget(4))
    assert "".join(name for name, _ in log) == "abcbcacababc"
    assert seconds == {name: [1.0] * 4 for name in "abc"}
    assert (rounds, failures) == ([1, 2, 3, 4], [])


def test_a_round_is_a_turn_for_each_batch_and_its_seconds_are_added_up():
    log = []
    seconds, _, _ = race([Racer("a", log, 1.0), Racer("b", log, 2.0)], batches=3, budget=Budget(2))
    assert log[:6] == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
    assert log[6] == ("b", 0)  # three turns, so the next round begins with the other
    assert seconds == {"a": [3.0, 3.0], "b": [6.0, 6.0]}


@pytest.mark.parametrize(("seconds", "rounds"), [(0.0, MIN_ROUNDS), (45.0, 5), (1e9, 100)])
def test_no_round_is_begun_after_the_time_but_there_are_three(seconds, rounds):
    log = []
    found, _, _ = race([Racer("a", log)], budget=Budget(100, seconds), clock=lambda: 10.0 * len(log))
    assert len(found["a"]) == rounds


def test_fewer_rounds_than_three_if_so_asked():
    assert race([Racer("a", [])], budget=Budget(1))[0] == {"a": [1.0]}


def test_whoever_fails_is_named_and_the_others_go_on():
    log = []
    racers = [Racer("a", log), Racer("b", log, fails_at=2), Racer("c", log)]
    seconds, rounds, failures = race(racers, batches=2, budget=Budget(3))
    assert failures == [("b", "out of breath")]
    assert seconds == {"a": [2.0] * 3, "c": [2.0] * 3}
    assert [name for name, _ in log].count("b") == 2
    assert rounds == [1, 2, 3]


def test_nobody_left():
    assert race([Racer("a", [], fails_at=1)])[0] == {}
