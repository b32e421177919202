"""How long work tells what it is doing; who shows it is not its affair."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Watch = Callable[[str, int, int], None]
"""Is told what is being done, and how many of how many steps of it are done."""

T = TypeVar("T")


def watched(things: Sequence[T], what: str, watch: Watch) -> Iterator[T]:
    """Each thing in turn; `watch` hears of `what` before each one and after the last."""
    for done, thing in enumerate(things):
        watch(what, done, len(things))
        yield thing
    watch(what, len(things), len(things))
