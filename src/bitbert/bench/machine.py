"""What a time was measured on: CPU, instruction set, versions. No names of machines, users or directories."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Any

import bitbert
from bitbert import _native
from bitbert.runtime.engine import choose_isa

PACKAGES = ("numpy", "torch", "transformers", "onnxruntime", "openvino", "nncf", "ctranslate2")


def machine(isa: str | None = None) -> dict[str, Any]:
    """CPU and software; `isa` is what bitbert's engine was told to use, if anything."""
    return {
        "cpu": _native.cpu_name(),
        "cpus": len(os.sched_getaffinity(0)),
        "isa": choose_isa(isa),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {"bitbert": bitbert.__version__} | _versions(),
    }


def _versions() -> dict[str, str]:
    """Of the packages that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
