"""Keeping transformers quiet: our own progress bar and errors say what a user needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from transformers import logging


@contextmanager
def quiet() -> Iterator[None]:
    """No notices (a new head, no evaluation set) and no bars (for loading and writing files of milliseconds)."""
    verbosity = logging.get_verbosity()
    bar = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
