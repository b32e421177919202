"""What a time was measured on, the runtimes that are compared included."""

from __future__ import annotations

import os
import platform
from typing import Any

from bitbert import machine as common

PACKAGES = ("numpy", "torch", "transformers", "onnxruntime", "openvino", "nncf", "ctranslate2")


def machine(isa: str | None = None) -> dict[str, Any]:
    """CPU and software; `isa` is what bitbert's engine was told to use, if anything."""
    here = {"cpus": len(os.sched_getaffinity(0)), "system": platform.system()}
    return common.machine(PACKAGES, isa) | here
