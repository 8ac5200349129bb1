"""Where files are kept that can be made again."""

import os
from pathlib import Path

__all__ = ["cache"]


def cache(name: str) -> Path:
    """A folder of the user's for files of one kind; it need not be there."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "bookmark-orm" / name
