"""`bitbert inspect`: what is in a packed directory. Reads and checks it whole; runs nothing, needs no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bitbert.cli import options
from bitbert.cli.output import print_json
from bitbert.spec import ACTIVATION_KINDS, WEIGHT_KINDS, activation_names, tensor_kind

if TYPE_CHECKING:
    from bitbert.checkpoint import PackedModel, PackedWeight


def inspect(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Packed directory.")],
    as_json: options.Json = False,
) -> None:
    """Show what a packed directory holds: bits and bytes by kind of tensor, compression, measured scores.

    Examples:

    \b
    bitbert inspect sst2-w4a8
    bitbert inspect sst2-w4a8 --json
    """
    report = describe(directory)
    if as_json:
        print_json(report)
    else:
        _show(report)


def describe(directory: Path) -> dict[str, Any]:
    """All that the command shows, as plain values. Sizes are bytes on disk; raises `CheckpointError`."""
    from bitbert.checkpoint import read

    model = read(directory)
    size = os.path.getsize(directory / "model.safetensors")
    weights = {
        kind: _weights([w for w in model.weights.values() if tensor_kind(w.name) == kind], model.spec.leftovers)
        for kind in WEIGHT_KINDS
    }
    floats = sum(value.size for value in model.floats.values())
    parameters = floats + sum(w.shape[0] * w.shape[1] for w in model.weights.values())
    return {
        "architecture": model.config["architectures"][0],
        "weights": {kind: row for kind, row in weights.items() if row["tensors"]},
        "activations": _activations(model),
        "float": {"parameters": floats, "dtype": model.spec.leftovers},
        "parameters": parameters,
        "bytes": size,
        "float32_bytes": 4 * parameters,
        "compression": 4 * parameters / size,
        "directory_bytes": sum(os.path.getsize(file) for file in directory.iterdir()),
        "spec": model.spec.to_json(),
        "report": _report(directory / "report.json"),
    }


def _weights(weights: list[PackedWeight], leftovers: str) -> dict[str, Any]:
    scale_bytes = 2 if leftovers == "float16" else 4
    return {
        "tensors": len(weights),
        "bits": sorted({int(bits) for w in weights for bits in w.group_bits()}),
        "grid": _distinct(w.spec.grid for w in weights),
        "granularity": _distinct(w.spec.granularity for w in weights),
        "packing": _distinct(w.spec.packing for w in weights),
        "parameters": sum(w.shape[0] * w.shape[1] for w in weights),
        "bytes": sum(w.packed.nbytes + scale_bytes * w.scale.size for w in weights),
    }


def _activations(model: PackedModel) -> dict[str, Any]:
    layers, pooler = model.config["num_hidden_layers"], "pooler.dense.weight" in model.weights
    specs = [(tensor_kind(name), model.spec.activation(name)) for name in activation_names(layers, pooler)]
    return {
        kind: {
            "tensors": len(mine),
            "bits": sorted({"float" if s.bits is None else str(s.bits) for s in mine}),
            "scale": _distinct(s.scale for s in mine),
            "symmetric": _distinct(str(s.symmetric).lower() for s in mine),
        }
        for kind in ACTIVATION_KINDS
        if (mine := [s for k, s in specs if k == kind])
    }


def _distinct(values: Iterable[str]) -> list[str]:
    return sorted(set(values))


def _report(path: Path) -> dict[str, Any]:
    """What was measured when the model was made; a directory need not have it."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}


def _show(report: dict[str, Any]) -> None:
    from bitbert.report.table import mib, show, table

    weights = [
        (
            kind,
            _joined(row["bits"]),
            _joined(row["grid"]),
            _joined(row["granularity"]),
            _joined(row["packing"]),
            f"{row['parameters']:,}",
            f"{row['bytes']:,}",
        )
        for kind, row in report["weights"].items()
    ]
    activations = [
        (kind, _joined(row["bits"]), _joined(row["scale"]), _joined(row["symmetric"]), str(row["tensors"]))
        for kind, row in report["activations"].items()
    ]
    typer.echo(
        f"{report['architecture']}, {report['parameters']:,} parameters in {mib(report['bytes'])} MiB"
        f" (model.safetensors): {report['compression']:.2f}x smaller than float32."
    )
    typer.echo(f"{report['float']['parameters']:,} of them (biases, LayerNorm, head) are {report['float']['dtype']}.")
    show(
        table(("weights", "bits", "grid", "scale per", "packing", "parameters", "bytes"), weights),
        table(("activations", "bits", "scale", "symmetric", "tensors"), activations),
    )
    _show_scores(report["report"])


def _show_scores(report: dict[str, Any]) -> None:
    from bitbert.report.table import show, table

    splits = report.get("splits", {})
    rows = [
        (split, metric, f"{value:.2f}", _figure(scores.get("float32", {}).get(metric)))
        for split, scores in splits.items()
        for metric, value in scores.items()
        if isinstance(value, int | float) and metric != "texts"
    ]
    if not rows:
        typer.echo("No scores were recorded (report.json).")
        return
    typer.echo(f"Measured by recipe {report.get('recipe')} on {report.get('task')}, seed {report.get('seed')}:")
    show(table(("split", "figure", "packed", "float32"), rows))


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _joined(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values))
