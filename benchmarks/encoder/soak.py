"""Half an hour of mixed batches from several Python threads: memory must not grow, answers must not change.

    python benchmarks/encoder/soak.py MODEL --minutes 30

Texts are random tokens of random lengths. The first answer to a text, given alone, is kept; every later one, in a batch
of random size, order and number of engine threads, must have the same bits. Memory is the resident size after each
minute; it may not be more at the end than after a tenth of the time. A pass keeps memory for the largest batch it has
seen, so all workers begin with the largest one at the same time: what grows after that is lost.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import threading
import time
from pathlib import Path

import numpy as np

from bitbert.checkpoint import read
from bitbert.runtime.engine import Engine

TEXTS = 400
MOST_TEXTS = 32  # in a batch
MOST_THREADS = 3  # of the engine
SLACK_MIB = 2.0  # what an allocator may keep more or less of


def resident_mib() -> float:
    """VmRSS of this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


class Soak:
    """Workers that ask the same engine for texts they know the answers of."""

    def __init__(self, engine: Engine, seconds: float) -> None:
        """Answer every text once."""
        self.engine, self.end = engine, time.monotonic() + seconds
        rng = np.random.default_rng(0)
        longest, words = engine.architecture.max_position_embeddings, engine.architecture.vocab_size
        lengths = rng.integers(1, min(longest, 512) + 1, TEXTS) // rng.integers(1, 9, TEXTS) + 1
        self.texts = [rng.integers(0, words, min(n, longest)).astype(np.int32) for n in lengths]
        self.answers = [engine.forward([ids], output="pooled", threads=1)[0] for ids in self.texts]
        self.largest = [max(self.texts, key=len)] * MOST_TEXTS
        self.batches = itertools.count()
        self.wrong = 0

    def work(self, seed: int, together: threading.Barrier) -> None:
        """Ask until the time is over."""
        together.wait()
        self.engine.forward(self.largest, output="pooled", threads=MOST_THREADS)
        rng = np.random.default_rng(seed)
        while time.monotonic() < self.end and not self.wrong:
            chosen = rng.integers(0, TEXTS, rng.integers(1, MOST_TEXTS + 1))
            threads = int(rng.integers(1, MOST_THREADS + 1))
            out = self.engine.forward([self.texts[i] for i in chosen], output="pooled", threads=threads)
            expected = np.stack([self.answers[i] for i in chosen])
            self.wrong += int((out.view(np.int32) != expected.view(np.int32)).any())
            next(self.batches)

    def run(self, workers: int) -> list[float]:
        """Resident size after each minute, and at the end."""
        together = threading.Barrier(workers)
        threads = [threading.Thread(target=self.work, args=(seed, together)) for seed in range(1, workers + 1)]
        for thread in threads:
            thread.start()
        sizes = []
        while any(thread.is_alive() for thread in threads):
            minute = time.monotonic() + 60
            for thread in threads:
                thread.join(timeout=max(0.0, minute - time.monotonic()))
            sizes.append(round(resident_mib(), 1))
            print(f"{len(sizes)} min, {sizes[-1]} MiB", file=sys.stderr)
        return sizes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="packed directory")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--workers", type=int, default=4, help="Python threads")
    given = parser.parse_args()
    soak = Soak(Engine(read(given.model)), 60 * given.minutes)
    sizes = soak.run(given.workers)
    grown = max(sizes[len(sizes) // 10 :]) - sizes[len(sizes) // 10]
    result = {"batches": next(soak.batches), "wrong": soak.wrong, "resident_mib": sizes, "grown_mib": round(grown, 1)}
    print(json.dumps(result))
    return 0 if soak.wrong == 0 and grown <= SLACK_MIB else 1


if __name__ == "__main__":
    sys.exit(main())
