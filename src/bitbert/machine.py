"""What a figure was measured on: CPU, instruction set, versions. No names of machines, users or directories."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import bitbert
from bitbert import _native
from bitbert.runtime.engine import choose_isa


def machine(packages: Sequence[str], isa: str | None = None) -> dict[str, Any]:
    """CPU, Python, versions of those `packages` that are installed; `isa` is what the engine was told to use."""
    return {
        "cpu": _native.cpu_name(),
        "isa": choose_isa(isa),
        "python": platform.python_version(),
        "versions": {"bitbert": bitbert.__version__} | _versions(packages),
    }


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
