"""The other end of `worker.py`: starts the process of one contender, asks it, and stops it while others run.

A process each, for four reasons: libraries keep their threads spinning for a while after a call, which would slow
whoever comes next, and a stopped process does not; settings that are read once, from the environment, can differ; two
OpenMP runtimes do not share a process well; and a library that crashes takes only itself away.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from typing import Any, Self

from bitbert.bench.contenders import Setup
from bitbert.bench.rounds import RacerError
from bitbert.bench.workload import Workload

# A call that takes longer than this is its own warm-up: caches and threads are back within milliseconds.
SETTLED_SECONDS = 0.25


class Process:
    """A contender that runs elsewhere; use it as a context, which ends the process."""

    def __init__(self, setup: Setup) -> None:
        """Start the process; `build` makes the contender."""
        self.setup, self.name = setup, setup.name
        self._latest: list[float] = []
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed on exit)
        self._worker = subprocess.Popen(
            [sys.executable, "-P", "-m", "bitbert.bench.worker"],  # -P: no modules of the current directory
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **_environment(setup)},
            # A group of its own is not stopped by Ctrl-C, and the system ends it if we end while it is stopped.
            process_group=0,
        )

    def build(self) -> str:
        """Build the contender and say how it runs; raises `RacerError`."""
        how: str = self._ask("build", dataclasses.asdict(self.setup))
        return how

    def load(self, workload: Workload) -> None:
        """Hand over a workload and warm up on it; raises `RacerError`."""
        self._latest = self._ask("load", [batch.to_json() for batch in workload.batches])

    def run(self, batch: int) -> float:
        """Seconds of one call on a batch of the workload; raises `RacerError`."""
        self._latest[batch] = self._ask("run", {"batch": batch, "settle": self._latest[batch] < SETTLED_SECONDS})
        return self._latest[batch]

    def answer(self, batch: int) -> list[list[float]]:
        """What it gives for a batch of the workload, float32 (sequences, hidden size); raises `RacerError`."""
        rows: list[list[float]] = self._ask("answer", batch)
        return rows

    def _ask(self, command: str, argument: Any) -> Any:
        """One command and its answer; the process runs in between and at no other time."""
        assert self._worker.stdin is not None
        assert self._worker.stdout is not None
        try:
            self._worker.send_signal(signal.SIGCONT)
            self._worker.stdin.write(json.dumps({command: argument}) + "\n")
            self._worker.stdin.flush()
            line = self._worker.stdout.readline()
            self._worker.send_signal(signal.SIGSTOP)
        except BrokenPipeError:
            line = ""
        if not line:
            raise RacerError(self._last_words())
        answer = json.loads(line)
        if "error" in answer:
            raise RacerError(answer["error"])
        return answer["value"]

    def _last_words(self) -> str:
        """Why a process that is gone may have gone."""
        code = self._worker.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().decode(errors="replace").splitlines() if line.strip()]
        ended = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return f"its process ended {ended}{f': {lines[-1]}' if lines else ''}"

    def __enter__(self) -> Self:
        """The process is running already."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process, whatever it is doing."""
        self._worker.kill()
        for pipe in (self._worker.stdin, self._worker.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):  # what it no longer reads
                pipe.close()
        self._worker.wait()
        self._errors.close()


def _environment(setup: Setup) -> dict[str, str]:
    """Our modules; threads, for libraries that ask the environment; a compiler in the worker, to stop with it."""
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OMP_NUM_THREADS": str(setup.threads),
        "MKL_NUM_THREADS": str(setup.threads),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        **setup.environment,
    }
