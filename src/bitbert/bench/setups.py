"""Directories and names of peers -> setups, checked before anything slow begins."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bitbert.bench.contenders import CONTENDERS, ENGINE, PEERS, Setup
from bitbert.checkpoint import read
from bitbert.checkpoint.architecture import SIZES
from bitbert.errors import ModelError


def sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    """What decides how long a model of this config takes."""
    return {name: config.get(name) for name in SIZES}


def packed(
    directory: Path, threads: int, *, name: str | None = None, isa: str | None = None, floats: Path | None = None
) -> Setup:
    """bitbert's engine on a packed directory; `floats` is the checkpoint that it was made from, if it is known.

    Raises `CheckpointError` for a directory that cannot be read.
    """
    model = read(directory)
    return Setup(
        name=name or directory.resolve().name,
        contender=ENGINE,
        config=model.config,
        threads=threads,
        directory=os.path.abspath(directory),
        spec=model.spec.to_json(),
        floats=os.path.abspath(floats) if floats else None,
        isa=isa,
    )


def peer(
    contender: str, like: Setup, environment: Mapping[str, str] | None = None, *, name: str | None = None
) -> Setup:
    """A peer of the shape of the packed model `like`, with the weights that that was made from or random ones."""
    return Setup(
        name=name or CONTENDERS[contender].title,
        contender=contender,
        config=like.config,
        threads=like.threads,
        floats=like.floats,
        environment=environment or {},
    )


def parse_peers(text: str) -> tuple[str, ...]:
    """Peers by name, from a list with commas, `all` or `none`; raises `ModelError` for any other."""
    if text in ("all", "none"):
        return PEERS if text == "all" else ()
    names = tuple(part.strip() for part in text.split(","))
    for name in names:
        if name not in PEERS:
            raise ModelError(f"unknown peer {name!r}, expected all, none, or some of: {', '.join(PEERS)}")
    return tuple(dict.fromkeys(names))


def check_comparable(setups: Sequence[Setup]) -> None:
    """Raise `ModelError` unless the packed models differ in name and have the sizes of the first."""
    first, *others = setups
    for number, other in enumerate(others, 1):
        if other.name in [setup.name for setup in setups[:number]]:
            raise ModelError(f"more than one directory is called {other.name}: rename all but one")
        _check_sizes(other.name, other.config, first)


def check_floats(directory: Path, like: Setup) -> None:
    """Raise `ModelError` unless there is a float checkpoint in `directory` with the sizes of the packed model."""
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{directory} is no float checkpoint: config.json cannot be read ({error})") from None
    if not isinstance(config, dict) or "quantization_config" in config:
        raise ModelError(f"{directory} is not a float checkpoint: give the one that the packed model was made from")
    _check_sizes(str(directory), config, like)


def _check_sizes(name: str, config: Mapping[str, Any], like: Setup) -> None:
    for size, expected in sizes(like.config).items():
        if config.get(size) != expected:
            raise ModelError(
                f"{name} has {size} {config.get(size)}, but {like.name} has {expected}: compare models of one shape"
            )
