"""The directory in which a training run keeps its checkpoints until its result is written."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from bitbert.checkpoint.atomic import check_replaceable
from bitbert.errors import CheckpointError

_SETTINGS = "settings.json"


def check_free(output: Path, overwrite: bool) -> None:
    """Raise `CheckpointError`, before any work is done, unless `output` may be written.

    With `overwrite` it may be there already, if it is empty or holds a model (a `config.json`).
    """
    check_replaceable(output, overwrite, lambda path: (path / "config.json").is_file(), "is not a model directory")


@contextmanager
def work_directory(
    output: Path, chosen: Path | None, settings: Mapping[str, Any], *, resume: bool, overwrite: bool
) -> Iterator[Path]:
    """Yield the work directory of a run that writes `output`: `chosen`, or `output` with `.work` behind its name.

    It is removed when the block ends well and kept, to `resume` from, when it does not. `settings` say what the run is;
    a resumed one must have the same. A run with checkpoints is thrown away with `overwrite` only. Raises
    `CheckpointError` otherwise.
    """
    path = chosen or output.with_name(output.name + ".work")
    wanted = _flat("", settings)
    with disk_errors(path):
        found = _found(path, overwrite or resume)
        path.mkdir(parents=True, exist_ok=True)
    with _alone(path):
        if not (found and resume):
            with disk_errors(path):
                _begin(path, wanted)
        _check_same(path, wanted)
        yield path
        shutil.rmtree(path)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """What keeps anything from being written to `path`, such as a full disk, as a `CheckpointError`."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}") from error
    except RuntimeError as error:  # torch.save has no class of its own for this
        if "inline_container" not in str(error):
            raise
        raise CheckpointError(f"{path} cannot be written: is the disk full?") from error


def _found(path: Path, touchable: bool) -> bool:
    """Whether a run was begun at `path`; raises `CheckpointError` if it is anything that should be left alone."""
    if not os.path.lexists(path):
        return False
    if not (path / _SETTINGS).is_file():
        if not path.is_dir() or any(path.iterdir()):
            raise CheckpointError(f"{path} is not a work directory of bitbert: choose another with --work-dir")
        return False
    if not touchable and any(path.glob("*/checkpoint-*")):
        raise CheckpointError(
            f"{path} holds a run that was not finished: go on with --resume, or start anew with --overwrite"
        )
    return True


def _flat(prefix: str, value: Any) -> dict[str, Any]:
    """Nested settings as one level of dotted names, so that an error can name the one that differs."""
    if isinstance(value, Mapping):
        items = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list):
        items = [(str(key), item) for key, item in enumerate(value)]
    else:
        return {prefix: value if isinstance(value, str | int | float | None) else str(value)}
    return {
        name: leaf for key, item in items for name, leaf in _flat(f"{prefix}.{key}" if prefix else key, item).items()
    }


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock of a directory, which ends with the process however that ends."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # some network file systems have no locks at all
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CheckpointError(f"{path} is in use: another run is writing to it") from None
        yield
    finally:
        os.close(descriptor)


def _begin(path: Path, settings: Mapping[str, Any]) -> None:
    """Empty the directory, and write the settings as one step."""
    for old in path.iterdir():
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    temporary = path / f"{_SETTINGS}.tmp"
    temporary.write_text(json.dumps(settings, indent=1), encoding="utf-8")
    os.replace(temporary, path / _SETTINGS)


def _check_same(path: Path, wanted: Mapping[str, Any]) -> None:
    try:
        found = json.loads((path / _SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path / _SETTINGS} cannot be read: {error}; start anew with --overwrite") from None
    for key in [*wanted, *found]:
        if found.get(key) != wanted.get(key):
            raise CheckpointError(
                f"{path} holds a run with {key} {found.get(key)!r}, not {wanted.get(key)!r}: "
                "give the same settings to go on with it, or start anew with --overwrite"
            )
