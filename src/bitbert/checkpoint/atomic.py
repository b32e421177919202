"""Directories that appear all at once: written beside the target, synced, then renamed onto it.

A run that is killed leaves either what was there before or the new directory, never a half of one. What it may leave
besides is a hidden `.NAME.*.tmp`, which the next write removes: a lock tells it from one that is still being written.
"""

from __future__ import annotations

import ctypes
import fcntl
import glob
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bitbert.errors import CheckpointError

_AT_FDCWD = -100  # linux/fcntl.h
_RENAME_EXCHANGE = 2  # linux/fs.h


def check_replaceable(target: Path, overwrite: bool, is_ours: Callable[[Path], bool], otherwise: str) -> None:
    """Raise `CheckpointError` unless `target` may be written: there is nothing yet, or `overwrite` and it is ours.

    Ours is an empty directory, and one that `is_ours`; of any other the message says `otherwise`.
    """
    if not os.path.lexists(target):
        return
    if not overwrite:
        raise CheckpointError(f"{target} exists: choose another directory, or overwrite it with --overwrite")
    if target.is_symlink() or not target.is_dir() or (any(target.iterdir()) and not is_ours(target)):
        raise CheckpointError(f"{target} {otherwise} and is not overwritten: choose another one")


@contextmanager
def new_directory(target: Path, *, replace: bool) -> Iterator[Path]:
    """Yield an empty directory that becomes `target` when the block ends well, and vanishes when it does not.

    With `replace`, a `target` that exists is exchanged for it; without, it is an error. An `OSError` on the way, a full
    disk included, becomes a `CheckpointError`.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(target)
        directory = target.parent / f".{target.name}.{secrets.token_hex(4)}.tmp"
        directory.mkdir()
        try:
            with _lock(directory):
                yield directory
                _sync(directory)
                _move(directory, target, replace)
                _sync(target.parent)
        finally:
            shutil.rmtree(directory, ignore_errors=True)  # after an exchange, this is what the target was
    except OSError as error:
        raise CheckpointError(f"{target} cannot be written: {error.strerror or error}") from error


def _remove_stale(target: Path) -> None:
    for stale in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):
        with suppress(OSError), _lock(stale) as locked:  # one that is still being written cannot be locked
            if locked:
                shutil.rmtree(stale)


@contextmanager
def _lock(directory: Path) -> Iterator[bool]:
    """Try to hold the directory's lock, which ends with the process; some network file systems have no locks at all."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield _locked(descriptor)
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _move(directory: Path, target: Path, replace: bool) -> None:
    """Rename onto `target`; what was there is then found under the name of `directory`, or removed."""
    if not replace or not target.exists():
        directory.rename(target)
    elif not _exchange(directory, target):
        previous = directory.with_suffix(".old")  # never removed as stale: a kill between the renames loses nothing
        target.rename(previous)
        directory.rename(target)
        shutil.rmtree(previous)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step; False where the C library or the file system cannot."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    paths = (_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other))
    return rename is not None and rename(*paths, _RENAME_EXCHANGE) == 0


def _sync(directory: Path) -> None:
    """Wait until the names in a directory are on the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
