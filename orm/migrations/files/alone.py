"""One writer of revision files at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["alone"]


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process writes revisions in a folder, and keep others waiting."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)  # which ends with the process at the latest
        yield
    finally:
        os.close(opened)
