"""The model card: `README.md` of a packed directory, from the model and its report. A template, no figures of its own.

Of the report it uses what is there of `model`, `task`, `recipe`, `seed`, `rows`, `calibrated_on` (texts), `machine`,
`splits` (per split its metrics in points, `texts`, `ms_per_text`, and the same under `float32` for the model it came
from) and `bytes` (`model.safetensors`, `float32_parameters`, `ratio`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bitbert.checkpoint import Architecture, PackedModel
from bitbert.spec import activation_names, tensor_kind

MIB = 2**20
_PIPELINES = {
    "BertModel": "feature-extraction",
    "BertForSequenceClassification": "text-classification",
    "BertForTokenClassification": "token-classification",
    "BertForQuestionAnswering": "question-answering",
}
_CALLS = {
    "none": 'model.encode(["a sentence"])  # float32 (1, {hidden})',
    "sequence": 'model.predict(["a gripping film"])  # labels and scores',
    "answering": 'model.answer("Who left?", "He left at noon.")  # text, score, start, end',
    "tagging": 'model.tag("He left for London.")  # words with labels, entities',
}
_NOT_METRICS = ("texts", "ms_per_text", "float32", "trained")


def model_card(model: PackedModel, report: Mapping[str, Any]) -> str:
    """The text of `README.md`, with metadata for the hub in front."""
    parts = [_front_matter(model), _title(report), _loading(model), _bits(model), _sizes(report), _scores(report)]
    return "\n\n".join(part for part in [*parts, _origin(report)] if part) + "\n"


def _front_matter(model: PackedModel) -> str:
    pipeline = _PIPELINES[model.config["architectures"][0]]
    return f"---\nlibrary_name: bitbert\npipeline_tag: {pipeline}\ntags:\n- bert\n- bitbert\n- quantized\n---"


def _title(report: Mapping[str, Any]) -> str:
    source = Path(report["model"]).name if "model" in report else "A BERT encoder"
    task = f" for {report['task']}" if "task" in report else ""
    return (
        f"# {source}{task}, packed by bitbert\n\n"
        "Integer weights and activations, run on CPUs by bitbert's own engine; `torch` is not needed."
    )


def _loading(model: PackedModel) -> str:
    architecture = Architecture.from_config(model.config)
    call = _CALLS[_head(architecture)].format(hidden=architecture.hidden_size)
    return f'```python\nimport bitbert\n\nmodel = bitbert.load("path/to/this/directory")\n{call}\n```'


def _head(architecture: Architecture) -> str:
    if architecture.head != "token":
        return architecture.head
    return "answering" if architecture.head_name == "qa_outputs" else "tagging"


def _bits(model: PackedModel) -> str:
    """Which kinds of tensors have how many bits, as they are in this model, overrides included."""
    architecture = Architecture.from_config(model.config)
    widths: dict[str, set[int | None]] = {}
    for name, weight in model.weights.items():
        widths.setdefault(_words(name), set()).update(map(int, weight.group_bits()))
    for name in activation_names(architecture.num_hidden_layers, architecture.pooler):
        widths.setdefault(f"{_words(name)} (activation)", set()).add(model.spec.activation(name).bits)
    return _table("Bits", "| tensor | bits |", [f"| {words} | {_widths(bits)} |" for words, bits in widths.items()])


def _sizes(report: Mapping[str, Any]) -> str:
    if "bytes" not in report:
        return ""
    sizes = report["bytes"]
    rows = [
        f"| `model.safetensors` | {sizes['model.safetensors'] / MIB:.2f} MiB |",
        f"| the same parameters in float32 | {sizes['float32_parameters'] / MIB:.2f} MiB |",
        f"| ratio | {sizes['ratio']:.2f} |",
    ]
    return _table("Bytes on disk", "| file | size |", rows)


def _scores(report: Mapping[str, Any]) -> str:
    """One line for each split and metric, beside the float32 model."""
    rows = []
    for split, ours in report.get("splits", {}).items():
        float32 = ours.get("float32", {})
        for metric in (key for key in ours if key not in _NOT_METRICS):
            stock = f"{float32[metric]:.2f}" if metric in float32 else "not measured"
            rows.append(f"| {split} | {ours['texts']} | {metric} | {ours[metric]:.2f} | {stock} |")
    note = "In points, measured through the engine that serves the model; float32 is the model that it was made from."
    return _table("Accuracy", "| split | texts | metric | this model | float32 |", rows, note)


def _origin(report: Mapping[str, Any]) -> str:
    machine = report.get("machine", {})
    facts = {
        "Recipe": report.get("recipe"),
        "Training texts": report.get("rows"),
        "Calibrated only, not trained": _calibration(report),
        "Seed": report.get("seed"),
        "Measured on": ", ".join(str(machine[key]) for key in ("cpu", "isa") if key in machine),
    }
    lines = [f"- {name}: {value}" for name, value in facts.items() if value not in (None, "")]
    return "\n".join(["## How it was made", "", *lines, "- Everything else: `report.json`"])


def _calibration(report: Mapping[str, Any]) -> str:
    return f"on {report['calibrated_on']:,} texts without labels" if "calibrated_on" in report else ""


def _table(title: str, header: str, rows: Iterable[str], note: str = "") -> str:
    rows = list(rows)
    rule = "|" + " --- |" * (header.count("|") - 1)
    return "\n".join([f"## {title}", "", *([note, ""] if note else []), header, rule, *rows]) if rows else ""


def _widths(bits: set[int | None]) -> str:
    words = {0: "pruned", None: "float"}
    return ", ".join(words.get(width, str(width)) for width in sorted(bits, key=lambda b: -(b or 0)))


def _words(name: str) -> str:
    return tensor_kind(name).replace("_", " ")
