"""Write a `PackedModel` as the directory of `docs/format.md`, whole or not at all."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bitbert.checkpoint.architecture import Architecture
from bitbert.checkpoint.atomic import check_replaceable, new_directory
from bitbert.checkpoint.header import digest, encode, file_order
from bitbert.checkpoint.layout import layout
from bitbert.checkpoint.packed import PackedModel
from bitbert.checkpoint.tensors import from_tensors, to_tensors
from bitbert.errors import CheckpointError

QUANT_METHOD = "bitbert"
FORMAT_VERSION = 1
CONFIG, TENSORS, REPORT = "config.json", "model.safetensors", "report.json"


def write(
    model: PackedModel,
    directory: str | Path,
    *,
    files: Mapping[str, bytes] | None = None,
    report: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write `model` to `directory` and return its absolute path.

    `files` (tokenizer, model card) go beside the model by name, `report` becomes `report.json`. Leftovers are rounded
    to the dtype of the spec. Raises `SpecError` or `CheckpointError`, and changes nothing, if the model could not be
    read back, if `directory` exists (with `overwrite`: if it is anything but a bitbert or empty directory), or if the
    disk is full.
    """
    target = Path(os.path.abspath(directory))
    check_target(target, overwrite)
    contents: dict[str, list[bytes | memoryview]] = {
        TENSORS: _tensor_chunks(model),
        CONFIG: [_config(model)],
        REPORT: [_json(_finite(report or {}))],
    }
    for name, content in (files or {}).items():
        _check_name(name)
        contents[name] = [content]
    with new_directory(target, replace=overwrite) as path:
        for name, chunks in contents.items():
            _write_file(path / name, chunks)
    return target


def check_target(target: Path, overwrite: bool) -> None:
    """Raise `CheckpointError` unless `write` may write `target`."""
    check_replaceable(target, overwrite, _is_bitbert, "is not a bitbert directory")


def _is_bitbert(directory: Path) -> bool:
    try:
        config = json.loads((directory / CONFIG).read_bytes())
        return bool(config["quantization_config"]["quant_method"] == QUANT_METHOD)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _check_name(name: str) -> None:
    if name in ("", ".", "..", CONFIG, TENSORS, REPORT) or name != os.path.basename(name):
        raise CheckpointError(f"{name!r} cannot be added: expected a plain file name that is not taken")


def _config(model: PackedModel) -> bytes:
    quantization = {"quant_method": QUANT_METHOD, "format_version": FORMAT_VERSION, "spec": model.spec.to_json()}
    return _json({**model.config, "quantization_config": quantization})


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def _finite(value: Any) -> Any:
    """Plain data with null for what JSON has no number for, such as the correlation of a constant."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _tensor_chunks(model: PackedModel) -> list[bytes | memoryview]:
    """The header, then the bytes of each tensor, views of the model where it can be."""
    architecture = Architecture.from_config(model.config)
    tensors = to_tensors(model, architecture)
    from_tensors(model.config, model.spec, architecture, tensors)  # what could not be read back is not written
    expected = layout(architecture, model.spec)
    data = [np.ravel(tensors[name]).view(np.uint8).data for name in file_order(expected)]
    return [encode(expected, digest(expected, tensors)), *data]


def _write_file(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Write a new file and wait until it is on the disk."""
    with path.open("xb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
