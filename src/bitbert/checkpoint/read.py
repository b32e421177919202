"""Read a directory as `docs/format.md` describes it, believing nothing: the counterpart of `write.py`.

Checks come before allocations: config and spec say which tensors there must be, the header is held against that and
against the file's true size, and only then are bytes looked at: digest, codes, scales. Codes stay views of the mapped
file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbert.checkpoint.architecture import Architecture
from bitbert.checkpoint.header import DTYPES, MAX_JSON_BYTES, Entry, digest, load_json, parse
from bitbert.checkpoint.layout import Layout, layout
from bitbert.checkpoint.packed import PackedModel
from bitbert.checkpoint.tensors import check_layout, from_tensors
from bitbert.checkpoint.write import CONFIG, FORMAT_VERSION, QUANT_METHOD, TENSORS
from bitbert.errors import CheckpointError, SpecError
from bitbert.spec import QuantSpec


def read(directory: str | Path) -> PackedModel:
    """The model in a packed directory, fully checked; raises `CheckpointError` naming the file and the tensor."""
    path = Path(directory)
    if not path.is_dir():
        raise CheckpointError(f"{path} is not a directory: expected one that bitbert wrote")
    with _naming(path / CONFIG):
        config, spec = _read_config(path / CONFIG)
        architecture = Architecture.from_config(config)
        expected = layout(architecture, spec)
    with _naming(path / TENSORS):
        return from_tensors(config, spec, architecture, _read_tensors(path / TENSORS, expected))


def _read_config(path: Path) -> tuple[dict[str, Any], QuantSpec]:
    """The Hugging Face config without `quantization_config`, and the spec in it."""
    if os.path.getsize(path) > MAX_JSON_BYTES:
        raise CheckpointError(f"has more than {MAX_JSON_BYTES} bytes: not a config")
    config = load_json(path.read_bytes(), "the file")
    quantization = config.pop("quantization_config", None)
    if not isinstance(quantization, dict) or quantization.get("quant_method") != QUANT_METHOD:
        raise CheckpointError(f"has no quantization_config of quant_method {QUANT_METHOD!r}: not a packed model")
    _check_version(quantization.get("format_version"))
    for key in quantization.keys() - {"quant_method", "format_version", "spec"}:
        raise CheckpointError(f"quantization_config has the unknown key {key!r}")
    return config, QuantSpec.from_json(quantization.get("spec"))


def _check_version(version: Any) -> None:
    if type(version) is not int or version < 1:
        raise CheckpointError(f"format_version must be a whole number, not {version!r}")
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"format_version {version} is newer than {FORMAT_VERSION}, the last that is known: upgrade bitbert"
        )


def _read_tensors(path: Path, expected: Layout) -> Mapping[str, NDArray[Any]]:
    """Views of the mapped file by stored name, whose names, dtypes, shapes and digest are right."""
    if os.path.getsize(path) == 0:  # which cannot be mapped
        raise CheckpointError("is empty")
    data = np.asarray(np.memmap(path, np.uint8, mode="r"))
    entries, checksum, begin = parse(data)
    check_layout({name: (entry.dtype, entry.shape) for name, entry in entries.items()}, expected)
    tensors = {name: _view(data[begin:], entry) for name, entry in entries.items()}
    if digest(expected, tensors) != checksum:
        raise CheckpointError("does not match its SHA-256: the file is damaged, get it again")
    return tensors


def _view(data: NDArray[np.uint8], entry: Entry) -> NDArray[Any]:
    return data[entry.begin : entry.end].view(DTYPES[entry.dtype]).reshape(entry.shape)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file's name before every message, and turn what the system refuses into a `CheckpointError`."""
    try:
        yield
    except (CheckpointError, SpecError) as error:
        raise CheckpointError(f"{path}: {error}") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from None
