"""A SQLite database begun anew: from a restore point, or from nothing."""

import shutil
from collections.abc import Callable
from glob import escape
from pathlib import Path
from typing import Final

from sqlalchemy import URL

from orm.backends.sqlite.snapshot import snapshot

__all__ = ["replace_file"]

_NAME: Final = "reset"


def replace_file(file: Path, url: URL, suits: Callable[[URL], bool]) -> str | None:
    """Put the latest restore point that suits in the place of a database; or delete the database.

    What was there is kept, as the restore point ``app.before-reset.db``.

    Args:
        file: the database, which no program uses.
        url: of the database.
        suits: whether a restore point, by its URL, will do.

    Returns:
        The name of the restore point; None if there is none that suits.
    """
    kept = snapshot(file, _NAME, frozenset())
    points = [
        point
        for point in file.parent.glob(f"{escape(file.stem)}.before-*{escape(file.suffix)}")
        if point != kept and point.stem != f"{file.stem}.before-{_NAME}"
    ]
    points.sort(key=lambda point: point.stat().st_mtime, reverse=True)
    chosen = next((point for point in points if suits(url.set(database=str(point)))), None)
    beside = file.with_name(f"{file.name}-anew")
    if chosen is not None:
        shutil.copy2(chosen, beside)
    for ending in ("-wal", "-shm", ""):
        Path(f"{file}{ending}").unlink(missing_ok=True)
    if chosen is None:
        return None
    beside.rename(file)
    return chosen.name
