"""A SQLite database begun anew: from a restore point, or from nothing."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from sqlalchemy import URL

from orm.backends.sqlite.snapshot import restore_points, snapshot
from orm.exceptions import MigrationError

__all__ = ["replaced"]

_NAME: Final = "reset"


@contextmanager
def replaced(
    file: Path, url: URL, suits: Callable[[URL], bool]
) -> Iterator[tuple[URL, str | None]]:
    """A new database, which takes the place of another one at the end of the block.

    It is in a folder beside the other one. If the block fails, or the process is killed, the other
    one is as it was. In the end that is kept, as the restore point ``app.before-reset.db``, or
    ``app.before-reset-2.db`` if that is there.

    Args:
        file: the database.
        url: of the database.
        suits: whether a restore point, by its URL, will do to begin with.

    Yields:
        The URL of the new database, and the name of the restore point; None if none suits, and
        the new database is empty.

    Raises:
        MigrationError: another program uses the database, or the file is no database.
    """
    _refuse_if_used(file)
    points = [
        point
        for point in restore_points(file)
        if not point.stem.startswith(f"{file.stem}.before-{_NAME}")
    ]
    chosen = next((point for point in points if suits(url.set(database=str(point)))), None)
    with TemporaryDirectory(dir=file.parent, prefix=f"{file.name}-anew-") as folder:
        made = Path(folder) / file.name
        if chosen is not None:
            shutil.copy2(chosen, made)
        yield url.set(database=str(made)), chosen.name if chosen else None
        if made.exists():
            with closing(sqlite3.connect(made)) as connection:
                connection.execute("PRAGMA journal_mode = DELETE")  # one file, whole by itself
        _refuse_if_used(file)
        snapshot(file, _free_name(file), frozenset())
        for ending in ("-wal", "-shm", ""):
            Path(f"{file}{ending}").unlink(missing_ok=True)
        if made.exists():
            made.rename(file)


def _refuse_if_used(file: Path) -> None:
    """Refuse a file that another program has open: the program would go on with the old file."""
    if not file.exists():
        return
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True)) as connection:
        try:
            [mode] = connection.execute("PRAGMA journal_mode").fetchone()
            # To leave WAL, a connection has to be the only one (SQLite "Write-Ahead Logging").
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute(f"PRAGMA journal_mode = {mode}")
        except sqlite3.Error as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                why = "another program uses it: stop that program, and reset again"
            else:
                why = f"{error}. Move the file away, and reset again"
            raise MigrationError(
                f"{file} cannot be begun anew, and nothing was changed: {why}"
            ) from error


def _free_name(file: Path) -> str:
    names = (_NAME if number == 1 else f"{_NAME}-{number}" for number in count(1))
    return next(
        name
        for name in names
        if not file.with_name(f"{file.stem}.before-{name}{file.suffix}").exists()
    )
