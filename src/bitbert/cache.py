"""Where what takes long to make is kept between runs: `BITBERT_CACHE_DIR`, or the user's own cache directory."""

from __future__ import annotations

import os
from pathlib import Path


def cache_directory() -> Path:
    """The directory; it need not be there yet, and may be deleted at any time."""
    if chosen := os.environ.get("BITBERT_CACHE_DIR"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bitbert"
