"""The ledger: one row for each applied revision, written in the revision's own transaction."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    Float,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    inspect,
    select,
)

from orm.backends.migrations import Write
from orm.migrations.ledger.applied import Applied, in_order
from orm.migrations.revision import Revision

__all__ = [
    "TABLE",
    "VERSION",
    "Applied",
    "create",
    "entries",
    "heads",
    "is_there",
    "note",
    "read",
    "row",
    "set_version",
]

TABLE: Final = Table(
    "orm_revisions",
    MetaData(),
    Column("revision", String(32), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("checksum", String(64), nullable=False),
    Column("applied_at", DateTime(timezone=True), nullable=False),
    Column("seconds", Float),
    Column("bookmark", Text),
    Column("note", Text),
)
VERSION: Final = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""Alembic's own table, defined as Alembic defines it: one row, the last revision."""

_ENTER: Final = TABLE.insert()
_FIRST: Final = VERSION.insert()
_NEXT: Final = VERSION.update()


def is_there(connection: Connection) -> bool:
    """Whether the database has a ledger."""
    return inspect(connection).has_table(TABLE.name)


def create(connection: Connection) -> None:
    """Create the ledger and Alembic's own table, unless they exist."""
    TABLE.create(connection, checkfirst=True)
    VERSION.create(connection, checkfirst=True)


def read(connection: Connection) -> list[Applied]:
    """The applied revisions by number; none if the database has no ledger. Writes nothing."""
    if not is_there(connection):
        return []
    return in_order(Applied.of(row._asdict()) for row in connection.execute(select(TABLE)))


def heads(connection: Connection) -> set[str]:
    """The rows of Alembic's own table; none if it does not exist. Writes nothing."""
    if not inspect(connection).has_table(VERSION.name):
        return set()
    return set(connection.scalars(select(VERSION.c.version_num)))


def row(
    revision: Revision,
    *,
    seconds: float | None = None,
    bookmark: str | None = None,
    note: str | None = None,
) -> dict[str, Any]:
    """A row for `TABLE.insert()`: the revision is applied now."""
    return {
        "revision": revision.id,
        "name": revision.name,
        "checksum": revision.checksum,
        "applied_at": datetime.now(UTC),
        "seconds": seconds,
        "bookmark": bookmark,
        "note": note,
    }


def note(what: str, reason: str) -> str:
    """A line of a row's note."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z {what}: {reason}"


def entries(row: Mapping[str, Any], *, after: str | None) -> Sequence[Write]:
    """The writes that record a revision in the ledger and in Alembic's own table.

    Args:
        row: of the revision, from `row`.
        after: the revision before it; None if it is the first one.
    """
    version = {"version_num": row["revision"]}
    return (_ENTER, row), (_FIRST if after is None else _NEXT, version)


def set_version(connection: Connection, revision: str) -> None:
    """Make Alembic's own table name one revision, whatever it says now."""
    connection.execute(VERSION.delete())
    connection.execute(VERSION.insert(), {"version_num": revision})
