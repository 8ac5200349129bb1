"""``show``: the SQL of one revision, for an engine that need not be there."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event, make_url
from sqlalchemy.exc import NoSuchModuleError

from orm.exceptions import ConfigurationError, MigrationError
from orm.migrations.application import Application
from orm.migrations.compare.scratch import shadow
from orm.migrations.explain import cause_of, loading, where
from orm.migrations.files.revisions import Revision, read
from orm.migrations.running.applying import config_of

__all__ = ["sql_of"]

_IN_A_SHADOW: Final = make_url("sqlite://")
"""The engine whose operations look at the tables they change."""


def sql_of(application: Application, revision: str, dialect: str) -> str:
    """What a revision executes, as a script; without what Alembic and the ledger record.

    Args:
        application: whose revision.
        revision: its number.
        dialect: SQLAlchemy's name of the engine, such as ``"postgresql"``.

    Raises:
        ConfigurationError: there is no such dialect.
        MigrationError: there is no such revision, or it fails, or its SQL depends on rows.
    """
    files = {file.id: file for file in read(application.versions)}
    if revision not in files:
        raise MigrationError(f"there is no revision {revision!r}: see orm migrations list")
    file = files[revision]
    return (
        _replayed(application, file)
        if dialect == _IN_A_SHADOW.get_backend_name()
        else _offline(application, file, dialect)
    )


def _offline(application: Application, file: Revision, dialect: str) -> str:
    script = io.StringIO()
    try:
        migration = MigrationContext.configure(
            dialect_name=dialect,
            opts={"as_sql": True, "literal_binds": True, "output_buffer": script},
        )
    except NoSuchModuleError as error:
        raise ConfigurationError(
            f"SQLAlchemy has no dialect {dialect!r}: sqlite, postgresql, mysql, mariadb, …"
        ) from error
    with loading([file]):
        revision = ScriptDirectory.from_config(config_of(application)).get_revision(file.id)
    assert revision is not None
    with Operations.context(migration):
        try:
            revision.module.upgrade()
        except Exception as error:  # whatever it does with the answers that it does not get
            raise MigrationError(
                f"{file.name}.py cannot be written as a script{where(file.path, error)}: "
                f"{cause_of(error)}. A script cannot ask the database"
            ) from error
    return script.getvalue()


def _replayed(application: Application, file: Revision) -> str:
    with shadow(application, file.down, url=_IN_A_SHADOW) as made:
        with _listening(made.connection) as statements:
            made.upgrade(file.id)
        return "".join(f"{statement};\n\n" for statement in statements)


@contextmanager
def _listening(connection: Connection) -> Iterator[list[str]]:
    """The statements that change something, but for those about Alembic's own table."""
    statements: list[str] = []

    def note(_c: object, _cursor: object, sql: str, parameters: Any, *_: object) -> None:
        words = sql.split()
        if words[0].upper() in ("SELECT", "PRAGMA") or "alembic_version" in words[:4]:
            return
        values = f" /* {parameters!r} */" if parameters else ""
        statements.append(sql.strip() + values)

    event.listen(connection, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(connection, "before_cursor_execute", note)
