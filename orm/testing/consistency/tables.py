"""What the workloads read and write: registers, and a log of all that was written to them."""

from functools import cache

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    Row,
    Select,
    String,
    Table,
    bindparam,
    select,
    update,
)

from orm.testing.consistency.history import Seen

__all__ = [
    "APPEND",
    "INCREASE",
    "LOG",
    "RAISE",
    "REGISTER",
    "VERSION",
    "create",
    "drop",
    "log_of",
    "registers",
    "seen_in",
]

_METADATA = MetaData()

REGISTER = Table(
    "orm_verify_register",
    _METADATA,
    Column("key", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
    Column("writer", String(80), nullable=False),
)
"""The latest version of each key, and the operation that wrote it."""

LOG = Table(
    "orm_verify_log",
    _METADATA,
    Column("key", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("writer", String(80), primary_key=True),
)
"""Every version of each key, appended in the transaction that wrote it."""


def create(connection: Connection, keys: int) -> None:
    """Make the tables anew, with so many keys at version 0."""
    drop(connection)
    _METADATA.create_all(connection)
    connection.execute(
        REGISTER.insert(), [{"key": key, "version": 0, "writer": ""} for key in range(keys)]
    )


def drop(connection: Connection) -> None:
    """Remove the tables, if they are there."""
    _METADATA.drop_all(connection)


INCREASE = (
    update(REGISTER)
    .where(REGISTER.c.key == bindparam("of"))
    .values(version=REGISTER.c.version + 1, writer=bindparam("by"))
)
"""Raise the version of the register ``of``, in the name of the operation ``by``."""

RAISE = INCREASE.returning(REGISTER.c.version)
"""The same, and return it; MariaDB and MySQL cannot."""

VERSION = select(REGISTER.c.version).where(REGISTER.c.key == bindparam("of"))
"""The version of the register ``of``."""

APPEND = LOG.insert()
"""Append to the log."""


@cache  # building a statement takes longer than sending it
def registers(keys: tuple[int, ...] | None = None) -> Select[int, int, str]:
    """Read some registers, or all."""
    statement = select(REGISTER.c.key, REGISTER.c.version, REGISTER.c.writer)
    return statement if keys is None else statement.where(REGISTER.c.key.in_(keys))


@cache
def log_of(key: int, latest: int | None = None) -> Select[int, int, str]:
    """Read all that was written to a register, in order; or so many entries, the latest first."""
    log = select(LOG.c.key, LOG.c.version, LOG.c.writer).where(LOG.c.key == key)
    if latest is None:
        return log.order_by(LOG.c.version)
    return log.order_by(LOG.c.version.desc()).limit(latest)


def seen_in(row: Row[int, int, str]) -> Seen:
    """What a row of either table says."""
    return Seen(*row)
