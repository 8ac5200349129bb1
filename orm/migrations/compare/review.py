"""``apply``'s review: what pending revisions would do to the rows of a database."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, Final

from sqlalchemy import URL, ColumnElement, Connection, column, func, select, table

from orm.backends import Migrations, backend_for, migrations_for
from orm.backends.tokens import Lexer
from orm.exceptions import MigrationError
from orm.migrations.application import Application
from orm.migrations.compare.effects import (
    Catalog,
    Effect,
    Kind,
    Tables,
    catalog_of,
    effects_of,
    schemas_of,
)
from orm.migrations.compare.reading import Read, operations_of
from orm.migrations.compare.replay import replay
from orm.migrations.connecting import on_a_connection
from orm.migrations.revision import Revision

__all__ = ["Reviewed", "review"]

_MANY: Final = 100_000
"""Rows; an index on fewer is created too fast for other transactions to notice."""

_SOME: Final[frozenset[Kind]] = frozenset({"constraint", "delete", "update"})
"""Effects on some rows of a table, and it is not known on which."""


@dataclass(frozen=True, slots=True)
class Reviewed:
    """An effect of a pending revision on a database.

    Attributes:
        revision: the revision.
        effect: what it does.
        rows: how many rows of the database it affects, or the table has, if that is not known; None
            if the database lacks the table.
    """

    revision: Revision
    effect: Effect
    rows: int | None

    @property
    def loses_data(self) -> bool:
        """Whether rows or values of the database are lost."""
        return self.effect.loses_data and (bool(self.rows) or not self.effect.table)

    @property
    def message(self) -> str:
        """A sentence."""
        many = "row" if self.rows == 1 else "rows"
        if self.rows is None:
            rows = ""
        elif self.effect.kind in _SOME:
            rows = f" (the table has {self.rows:,} {many})"
        else:
            rows = f" ({self.rows:,} {many})"
        return f"{self.revision.name} {self.effect.message}{rows}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "revision": self.revision.id,
            "kind": self.effect.kind,
            "table": self.effect.table,
            "column": self.effect.column,
            "rows": self.rows,
            "loses_data": self.loses_data,
            "message": self.message,
        }


def review(
    application: Application, url: URL, at: str | None, pending: Sequence[Revision]
) -> list[Reviewed]:
    """What a user should know before pending revisions are applied. Nothing is written.

    The operations of the revisions are read, and the database's own catalog. What a revision does
    after it has asked the database (``op.get_bind()``) is not known: that is said, and all that its
    text drops or deletes counts.

    Args:
        application: whose revisions.
        url: of the database.
        at: the last revision that is applied there.
        pending: those to be applied, in their order.

    Raises:
        MigrationError: the database cannot be read, or a revision cannot be loaded.
    """
    migrations = migrations_for(url)
    if not pending or at is None or migrations.is_absent(url):
        return []  # there are no rows yet
    read = operations_of(application, pending, url)
    finished = [one.revision for one in takewhile(lambda one: not one.is_unfinished, read)]
    lexer = migrations.lexer
    every = [record for one in read for record in (*one.records, *one.unread.records)]
    schemas = schemas_of(every, lexer)
    costs = _costs(application, url, at, finished, migrations)

    def look(connection: Connection) -> list[Reviewed]:
        there = catalog_of(connection, schemas)
        tables = Tables(there)
        return [
            Reviewed(one.revision, effect, _rows(connection, there, effect))
            for one in read
            for effect in (
                *effects_of(one.records, tables, lexer),
                *costs.get(one.revision.id, ()),
                *_unknown(one, tables, lexer),
            )
        ]

    reviewed = on_a_connection(backend_for(url).reader_engine(url), look, url=url)
    return [one for one in reviewed if _matters(one, migrations)]


def _unknown(one: Read, tables: Tables, lexer: Lexer) -> Iterator[Effect]:
    if one.unknown is None:
        return
    if one.is_unfinished:
        words = "fails as it is: write by hand what its file names, and delete its first statement"
        yield Effect("unknown", "", None, words)
        return
    yield Effect("unknown", "", None, f"does more than its file tells: {one.unknown}")
    for effect in effects_of(one.unread.records, tables, lexer):
        if effect.loses_data:
            yield replace(effect, message=f"may do what stands in its text: it {effect.message}")
    if one.unread.drops_unnamed:
        words = "may drop or delete something: its text does not say by which name"
        yield Effect("drop_table", "", None, words)


def _costs(
    application: Application,
    url: URL,
    at: str,
    pending: Sequence[Revision],
    migrations: Migrations,
) -> Mapping[str, Sequence[Effect]]:
    """How the engine would change the tables in each revision, where it says that."""
    if migrations.costs is None:
        return {}
    found: dict[str, Sequence[Effect]] = {}
    try:
        with replay(application, at, url=url, beside=True) as made:
            for file in pending:
                with migrations.costs(made.connection) as costs:
                    made.upgrade(file.id)
                found[file.id] = [
                    Effect("alter", table, None, f"changes {table} {words}")
                    for table, words in dict.fromkeys(costs)
                ]
    except MigrationError as error:
        unknown = f"may lock tables, for how long is not known: {error}"
        found[pending[len(found)].id] = [Effect("unknown", "", None, unknown)]
    return found


def _rows(connection: Connection, there: Catalog, effect: Effect) -> int | None:
    """The rows that an effect is about: those with NULL, those with a value, or all."""
    if effect.table not in there.columns:
        return None
    schema, _, name = effect.table.rpartition(".")
    query = select(func.count()).select_from(table(name, schema=schema or None))
    if effect.column in there.columns[effect.table]:
        value: ColumnElement[Any] = column(effect.column)
        match effect.kind:
            case "not_null":
                query = query.where(value.is_(None))
            case "drop_column" | "type" | "convert":
                query = query.where(value.is_not(None))
            case _:
                pass
    return connection.scalar(query)


def _matters(one: Reviewed, migrations: Migrations) -> bool:
    match one.effect.kind:
        case "index":
            return (one.rows or 0) >= _MANY
        case "rewrite":  # else the engine says by itself what it costs
            return (one.rows or 0) >= _MANY and migrations.costs is None
        case "changing_default":
            return one.rows != 0 and migrations.new_columns_need_constants
        case "alter":
            return bool(one.rows)
        case "constraint" | "not_null" | "required_column" | "delete" | "update" | "convert":
            return one.rows != 0
        case _:
            return True
