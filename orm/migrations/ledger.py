"""The ledger: one row for each applied revision, written in the revision's own transaction."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    Float,
    MetaData,
    String,
    Table,
    Text,
    inspect,
    select,
)

from orm.migrations.revisions import Revision

__all__ = ["TABLE", "VERSION", "Applied", "create", "heads", "is_there", "read", "row"]

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
VERSION: Final = Table("alembic_version", MetaData(), Column("version_num", String(32)))
"""Alembic's own table, as far as it is read here."""


@dataclass(frozen=True, slots=True)
class Applied:
    """A revision as it was applied.

    Attributes:
        revision: its id, such as ``"0002"``.
        name: its file's name without ``.py``.
        checksum: `orm.migrations.revisions.Revision.checksum` of the file that ran.
        applied_at: when, in UTC.
        seconds: how long it ran; None when it did not run here (a baseline, an offline script).
        bookmark: where the database was before it, as `orm.Bookmark.encode` writes it; None if
            that is not known.
        note: the reasons of baselines and repairs, one a line; None if there were none.
    """

    revision: str
    name: str
    checksum: str
    applied_at: datetime
    seconds: float | None = None
    bookmark: str | None = None
    note: str | None = None


def is_there(connection: Connection) -> bool:
    """Whether the database has a ledger."""
    return inspect(connection).has_table(TABLE.name)


def create(connection: Connection) -> None:
    """Make the ledger, unless it is there."""
    TABLE.create(connection, checkfirst=True)


def read(connection: Connection) -> list[Applied]:
    """What was applied, by number; writes nothing, and without a ledger there is nothing."""
    if not is_there(connection):
        return []
    rows = connection.execute(select(TABLE)).all()
    applied = (
        Applied(
            revision=row.revision,
            name=row.name,
            checksum=row.checksum,
            # SQLite keeps no time zone.
            applied_at=row.applied_at.replace(tzinfo=row.applied_at.tzinfo or UTC).astimezone(UTC),
            seconds=row.seconds,
            bookmark=row.bookmark,
            note=row.note,
        )
        for row in rows
    )
    return sorted(applied, key=lambda row: (len(row.revision), row.revision))


def heads(connection: Connection) -> set[str]:
    """The rows of Alembic's own table; writes nothing, and without the table there are none."""
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
