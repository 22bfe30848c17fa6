"""One file a library: what it does in each job. worker.py calls these functions by their names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def prepared(call: Callable) -> Callable:
    """Marks a call that prepares something, untimed, and returns the function to be timed."""
    call.is_prepared = True
    return call


def sync_file(path: str) -> None:
    """Waits until a file is on stable storage."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def sync_folder(path: str) -> None:
    """Waits until a folder and all below it are on stable storage."""
    for name in [Path(path), *Path(path).rglob("*")]:
        sync_file(str(name))
