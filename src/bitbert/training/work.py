"""The directory in which a training run keeps its checkpoints until its result is written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bitbert.errors import CheckpointError

_SETTINGS = "settings.json"


def check_free(output: Path, overwrite: bool) -> None:
    """Raise `CheckpointError`, before any work is done, unless `output` may be written.

    With `overwrite` it may be there already, if it is empty or holds a model (a `config.json`).
    """
    if not os.path.lexists(output):
        return
    if not overwrite:
        raise CheckpointError(f"{output} exists: choose another directory, or overwrite it with --overwrite")
    if not output.is_dir() or (any(output.iterdir()) and not (output / "config.json").is_file()):
        raise CheckpointError(f"{output} is not a model directory and is not overwritten: choose another one")


@contextmanager
def work_directory(output: Path, chosen: Path | None, settings: Mapping[str, Any], *, resume: bool) -> Iterator[Path]:
    """Yield the work directory of a run that writes `output`: `chosen`, or `output` with `.work` behind its name.

    It is removed when the block ends well and kept, to `resume` from, when it does not. `settings` say what the run is;
    a resumed one must have the same. Raises `CheckpointError` otherwise.
    """
    path = chosen or output.with_name(output.name + ".work")
    wanted = json.loads(json.dumps(settings, default=str))
    if resume and (path / _SETTINGS).is_file():
        _check_same(path, wanted)
    elif path.exists() and not (path / _SETTINGS).is_file() and any(path.iterdir()):
        raise CheckpointError(f"{path} is not a work directory of bitbert: choose another with --work-dir")
    else:
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        _write(path / _SETTINGS, wanted)
    yield path
    shutil.rmtree(path)


def _check_same(path: Path, wanted: Mapping[str, Any]) -> None:
    found = json.loads((path / _SETTINGS).read_text(encoding="utf-8"))
    for key in sorted(found.keys() | wanted.keys()):
        if found.get(key) != wanted.get(key):
            raise CheckpointError(
                f"{path} holds a run with {key} {found.get(key)!r}, not {wanted.get(key)!r}: "
                "give the same settings, or start anew without --resume"
            )


def _write(path: Path, settings: Mapping[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(settings, indent=1), encoding="utf-8")
    os.replace(temporary, path)
