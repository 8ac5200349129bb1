"""What PostgreSQL knows of an error: the row, who held the lock, an index that stays."""

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Connection, Row
from sqlalchemy.exc import DBAPIError

from orm.backends.postgresql.blocking import blockers
from orm.backends.postgresql.driver import sqlstate
from orm.backends.postgresql.invalid import INVALID, way_out

__all__ = ["explain"]

_LOCK_NOT_AVAILABLE: Final = "55P03"
_SHOWN: Final = 5
_LONGEST: Final = 200
"""Characters of a statement that are shown."""


def explain(connection: Connection, error: DBAPIError) -> list[str]:
    """The row, the holder of the lock, and what stays (`orm.backends.Migrations.explain`)."""
    said = []
    detail = getattr(error.orig, "detail", None)  # asyncpg's; psycopg's message has it
    if detail is not None:
        said.append(f"DETAIL: {detail}")
    if sqlstate(error) == _LOCK_NOT_AVAILABLE and (found := blockers(connection)):
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        said.append(f"It waited for {'; '.join(map(_sentence, found[:_SHOWN]))}{more}")
    if "INDEX" in (error.statement or "").upper() and (left := connection.execute(INVALID).all()):
        said.append(way_out([(index, table) for index, table in left]))
    return said


def _sentence(row: Row[Any]) -> str:
    return "".join(_parts(row))


def _parts(row: Row[Any]) -> Iterator[str]:
    if not row.pid:  # PostgreSQL "pg_blocking_pids"
        yield "a prepared transaction (see pg_prepared_xacts)"
        return
    yield f"process {row.pid}"
    if row.usename:
        yield f" of {row.usename}"
    if row.application_name:
        yield f" ({row.application_name})"
    if row.age is not None:
        yield f", in a transaction for {row.age}"
    if row.state is not None:  # an account that may not see it
        yield f", {row.state}: {' '.join(row.query.split())[:_LONGEST]}"
