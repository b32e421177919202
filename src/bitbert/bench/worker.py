"""One contender in a process of its own: `python -m bitbert.bench.worker`, driven by `process.py`.

Commands come as lines of JSON on standard input, each answered by one line on what was standard output; whatever the
libraries print goes to standard error. The clock runs around a call to the contender and nothing else.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from bitbert.bench.contenders import Contender, Setup, build
from bitbert.bench.workload import Batch
from bitbert.errors import BitbertError

WARM_UPS = 2  # the first call compiles, allocates and pages in; the second says how long a call takes


class Host:
    """Builds a contender and does with it what the commands say."""

    def build(self, setup: dict[str, Any]) -> str:
        """Build the contender and say how it runs."""
        self._contender: Contender = build(Setup(**setup))
        return self._contender.how

    def load(self, batches: list[Any]) -> list[float]:
        """Take a workload and warm up; the seconds of the last call on each batch."""
        self._contender.load([Batch.from_json(batch) for batch in batches])
        return [[self._seconds(index) for _ in range(WARM_UPS)][-1] for index in range(len(batches))]

    def run(self, order: dict[str, Any]) -> float:
        """Seconds of one call; with `settle`, of the second of two, the first bringing threads and caches back."""
        if order["settle"]:
            self._contender.run(order["batch"])
        return self._seconds(order["batch"])

    def answer(self, index: int) -> list[list[float]]:
        """The output for a batch of the workload."""
        rows: list[list[float]] = self._contender.answer(index).tolist()
        return rows

    def _seconds(self, index: int) -> float:
        began = time.perf_counter()
        self._contender.run(index)
        return time.perf_counter() - began


def one_line(error: Exception) -> str:
    """An exception as a reason to be left out: its first line, and of what kind it was unless it is ours."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return text if isinstance(error, BitbertError) else f"{type(error).__name__}: {text}".removesuffix(": ")


def serve(commands: Any, reply: Callable[[str], Any]) -> None:
    """Answer each line `{command: argument}` with `{"value": ...}` or `{"error": reason}`, until there are no more."""
    host = Host()
    for line in commands:
        ((command, argument),) = json.loads(line).items()
        try:
            answer = {"value": getattr(host, command)(argument)}
        except Exception as error:  # of any library, for any reason: the others go on without it
            answer = {"error": one_line(error)}
        reply(json.dumps(answer) + "\n")


def main() -> None:
    """Serve, with the standard output of every library out of the way."""
    # OpenVINO and NNCF report their use to their makers where they find this module; without it they do not.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    with os.fdopen(os.dup(1), "w", buffering=1) as answers:
        os.dup2(2, 1)
        serve(sys.stdin, answers.write)


if __name__ == "__main__":
    main()
