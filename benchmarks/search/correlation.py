"""Do the estimated costs rank row groups as measuring does? Spearman's correlation on groups drawn at random.

    python benchmarks/search/correlation.py --task sst2 --model DIR --data-dir DIR --output results.json

Each group is drawn with one of the choices. Its true cost is the divergence from the float model, mean over training
texts, when it alone is quantized. `texts` are estimated on, `measured_texts` others are measured on, so that the figure
is not one of a fit.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bitbert.bench.records import commit, write_json
from bitbert.recipes.schema import load_recipe
from bitbert.search.sensitivity import ESTIMATES, measured, rank_correlation, sensitivity
from bitbert.search.space import Space
from bitbert.training.data import load_task
from bitbert.training.encode import encode, some_batches
from bitbert.training.models import load_finetuned, load_tokenizer
from bitbert.training.results import machine
from bitbert.watch import Watch

BATCH_SIZE = 32
CHOICES = (0, 1, 2, 4, 8)


def main() -> None:
    options = parse()
    data = load_task(options.task, data_dir=options.data_dir)
    model, tokenizer = load_finetuned(options.model, data.task), load_tokenizer(options.model)
    train = encode(data.split("train"), data.task, tokenizer, 128)
    texts = options.texts + options.measured_texts
    batches = some_batches(train, tokenizer, BATCH_SIZE, texts // BATCH_SIZE, options.seed)
    shown, others = batches[: options.texts // BATCH_SIZE], batches[options.texts // BATCH_SIZE :]
    config = model.config.to_dict() | {"architectures": [type(model).__name__]}
    space = Space.of(config, load_recipe("kdlsq").spec("w8a8"), CHOICES)
    pairs = draw(space, options.groups, options.seed)
    costs, seconds = {}, {}
    for estimate in ESTIMATES:
        began = time.perf_counter()
        costs[estimate] = sensitivity(model, shown, space, seed=options.seed, estimate=estimate)
        seconds[estimate] = round(time.perf_counter() - began, 1)
    true = measured(model, others, space, pairs, watch=on_stderr())
    found = {name: correlations(of_all, true, pairs) for name, of_all in costs.items()}
    report(options, pairs, true, costs, {"correlation": found, "seconds": seconds})


def draw(space: Space, groups: int, seed: int) -> list[tuple[int, int]]:
    """(item, choice), each item once."""
    rng = np.random.default_rng(seed)
    items = rng.choice(len(space.items), groups, replace=False)
    return [(int(item), int(rng.integers(len(space.choices)))) for item in items]


def correlations(costs: Any, true: Any, pairs: list[tuple[int, int]]) -> dict[str, float]:
    """Over all pairs, and over those of each width, where no difference between widths helps."""
    estimated, choice = np.array([costs[pair] for pair in pairs]), np.array([j for _, j in pairs])
    by_width = {
        f"{bits} bits": rank_correlation(estimated[choice == j], true[choice == j]) for j, bits in enumerate(CHOICES)
    }
    return {"all": rank_correlation(estimated, true), **by_width}


def on_stderr() -> Watch:
    return lambda what, done, total: print(f"\r{what} {done}/{total}", end="", file=sys.stderr, flush=True)


def report(options: Any, pairs: list[tuple[int, int]], true: Any, costs: Any, found: dict[str, Any]) -> None:
    arguments = f"--task {options.task} --groups {options.groups} --texts {options.texts}"
    result = {
        "command": f"python benchmarks/search/correlation.py {arguments} "
        f"--measured-texts {options.measured_texts} --seed {options.seed} --model DIR --data-dir DIR",
        "commit": commit(Path(__file__).parent),
        "seed": options.seed,
        "machine": machine(),
        **found,
        "pairs": pairs,
        "true": true.tolist(),
        "estimated": {name: [float(of_all[pair]) for pair in pairs] for name, of_all in costs.items()},
    }
    print("\n" + json.dumps(found["correlation"], indent=1), file=sys.stderr)
    write_json(options.output, result)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="sst2")
    parser.add_argument("--model", type=Path, required=True, help="a model that was fine-tuned for the task")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--groups", type=int, default=200)
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--measured-texts", type=int, default=128)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
