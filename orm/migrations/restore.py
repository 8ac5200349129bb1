"""A way back, made before a migration touches anything."""

from collections.abc import Callable

from sqlalchemy import URL

from orm.backends import Backend

__all__ = ["make_restore_point"]


def make_restore_point(
    backend: Backend,
    url: URL,
    revision: str,
    say: Callable[[str], None],
    bookkeeping: frozenset[str] = frozenset({"alembic_version"}),
) -> None:
    """Make a restore point, and say where it is.

    Args:
        backend: of the database.
        url: the database that is about to be migrated.
        revision: the first one that will be applied.
        say: what takes the message.
        bookkeeping: tables of the migrations' own, whose rows are no data.

    Raises:
        MigrationError: none could be made; nothing was changed.
    """
    message = backend.restore_point(url, revision, backend.reserved_tables | bookkeeping)
    if message is not None:
        say(f"Restore point: {message}")
