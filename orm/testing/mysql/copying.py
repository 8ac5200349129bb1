"""A copy of a database beside it, for which MariaDB and MySQL have no statement."""

from collections.abc import Iterator
from typing import Final

from sqlalchemy import Connection, make_url, text

from orm.backends.mysql.beyond_models import beyond_models
from orm.backends.mysql.definitions import tables_of
from orm.backends.mysql.sync import sync_engine

__all__ = ["copy_tables"]

_COLUMNS: Final = text(
    "SELECT column_name FROM information_schema.columns"
    " WHERE table_schema = DATABASE() AND table_name = :table"
    " AND COALESCE(generation_expression, '') = '' ORDER BY ordinal_position"
)
_AS_THEY_ARE: Final = (
    "SET SESSION foreign_key_checks = OFF, unique_checks = OFF, sql_mode = 'NO_AUTO_VALUE_ON_ZERO'"
)


def copy_tables(url: str, template: str) -> None:
    """Copy all that a database has, rows too, into an empty one.

    Args:
        url: of the empty one.
        template: the name of the other one, on the same server, which the same account may read.
    """
    to = make_url(url)
    engine = sync_engine(to)
    try:
        with engine.connect() as connection:
            mode = connection.scalar(text("SELECT @@session.sql_mode"))
            connection.exec_driver_sql(f"USE `{template}`")
            first, last = beyond_models(connection)
            tables = [*_tables(connection, template)]
            connection.exec_driver_sql(f"USE `{to.database}`")
            connection.exec_driver_sql(_AS_THEY_ARE)
            _run(connection, *first, *tables)
            connection.execute(text("SET SESSION sql_mode = :mode"), {"mode": mode})
            _run(connection, *last)  # after the rows: triggers do nothing to them
            connection.commit()
    finally:
        engine.dispose()


def _tables(connection: Connection, template: str) -> Iterator[str]:
    quote = connection.dialect.identifier_preparer.quote_identifier
    kinds = tables_of(connection)
    for name in (quote(name) for name, kind in kinds.items() if kind == "SEQUENCE"):
        [(at,)] = connection.exec_driver_sql(f"SELECT next_not_cached_value FROM {name}")
        yield f"SELECT SETVAL({name}, {at}, 0)"
    for table in (name for name, kind in kinds.items() if kind not in ("SEQUENCE", "VIEW")):
        [(_, created)] = connection.exec_driver_sql(f"SHOW CREATE TABLE {quote(table)}")
        yield created.replace(f"`{template}`.", "")
        names = connection.scalars(_COLUMNS, {"table": table}).all()
        columns = ", ".join(map(quote, names))
        source = f"{quote(template)}.{quote(table)}"
        yield f"INSERT INTO {quote(table)} ({columns}) SELECT {columns} FROM {source}"


def _run(connection: Connection, *statements: str) -> None:
    for statement in statements:  # in which `%` is no place for a parameter
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
