"""A SQLite database begun anew: from a restore point, or from nothing."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from glob import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from sqlalchemy import URL

from orm.backends.sqlite.snapshot import snapshot

__all__ = ["replaced"]

_NAME: Final = "reset"


@contextmanager
def replaced(
    file: Path, url: URL, suits: Callable[[URL], bool]
) -> Iterator[tuple[URL, str | None]]:
    """A new database, which takes the place of another one at the end of the block.

    It is in a folder beside the other one. If the block fails, or the process is killed, the other
    one is as it was. In the end that is kept, as the restore point ``app.before-reset.db``.

    Args:
        file: the database, which no program uses.
        url: of the database.
        suits: whether a restore point, by its URL, will do to begin with.

    Yields:
        The URL of the new database, and the name of the restore point; None if none suits, and
        the new database is empty.
    """
    points = [
        point
        for point in file.parent.glob(f"{escape(file.stem)}.before-*{escape(file.suffix)}")
        if point.stem != f"{file.stem}.before-{_NAME}"
    ]
    points.sort(key=lambda point: point.stat().st_mtime, reverse=True)
    chosen = next((point for point in points if suits(url.set(database=str(point)))), None)
    with TemporaryDirectory(dir=file.parent, prefix=f"{file.name}-anew-") as folder:
        made = Path(folder) / file.name
        if chosen is not None:
            shutil.copy2(chosen, made)
        yield url.set(database=str(made)), chosen.name if chosen else None
        if made.exists():
            with closing(sqlite3.connect(made)) as connection:
                connection.execute("PRAGMA journal_mode = DELETE")  # one file, whole by itself
        snapshot(file, _NAME, frozenset())
        for ending in ("-wal", "-shm", ""):
            Path(f"{file}{ending}").unlink(missing_ok=True)
        if made.exists():
            made.rename(file)
