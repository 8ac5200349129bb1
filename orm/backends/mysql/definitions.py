"""How a database of MariaDB or MySQL is defined: in the lines of ``SHOW CREATE``.

What an engine prints it also takes, so that a line is a definition and, after ``ADD`` or
``MODIFY COLUMN``, a part of a statement that makes it (`orm.backends.mysql.writing`).
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Connection, text

from orm.backends.things import Thing
from orm.exceptions import MigrationError

__all__ = ["BEYOND", "definitions", "events", "tables_of", "what_is_shown"]

BEYOND: Final = ("sequence", "function", "procedure", "view", "trigger", "event")
"""What no model makes, in an order in which it can be made; its definition is a statement."""

_TABLES: Final = {"BASE TABLE", "SYSTEM VERSIONED"}
_ITEM: Final = re.compile(
    r"\n  (?=`|PRIMARY KEY|UNIQUE KEY|KEY|FULLTEXT KEY|SPATIAL KEY|CONSTRAINT|PERIOD)"
)
_COLUMN: Final = re.compile(r"(`(?:[^`]|``)*`) (.*)", re.DOTALL)
_KEY: Final = re.compile(r"(?:UNIQUE |FULLTEXT |SPATIAL )?KEY (`(?:[^`]|``)*`) .*", re.DOTALL)
_CONSTRAINT: Final = re.compile(r"CONSTRAINT (`(?:[^`]|``)*`) (.*)", re.DOTALL)
_CHARSET: Final = re.compile(
    r"(\w+(?:\((?:'(?:[^']|'')*'|[^')])*\))?)(?: CHARACTER SET \w+)?(?: COLLATE \w+)?"
)
_COUNTER: Final = re.compile(r" AUTO_INCREMENT=\d+")
_DEFINER: Final = re.compile(r"\s+DEFINER=(?:`(?:[^`]|``)*`@`(?:[^`]|``)*`|\S+)")

_INHERITED: Final = text(
    "SELECT c.table_name, c.column_name FROM information_schema.columns c"
    " JOIN information_schema.tables t"
    " ON t.table_schema = c.table_schema AND t.table_name = c.table_name"
    " WHERE c.table_schema = DATABASE() AND c.collation_name = t.table_collation"
)
_VIEWS: Final = text(
    "SELECT table_name, view_definition FROM information_schema.views"
    " WHERE table_schema = DATABASE()"
)
_TRIGGERS: Final = text(
    "SELECT event_object_table, trigger_name, action_timing, event_manipulation, action_statement"
    " FROM information_schema.triggers WHERE trigger_schema = DATABASE()"
    " ORDER BY event_object_table, action_order"
)
_ROUTINES: Final = text(
    "SELECT routine_type, routine_name FROM information_schema.routines"
    " WHERE routine_schema = DATABASE() AND routine_type IN ('FUNCTION', 'PROCEDURE')"
)
_EVENTS: Final = text(
    "SELECT event_name FROM information_schema.events"
    " WHERE event_schema = DATABASE() AND event_type = 'RECURRING' ORDER BY event_name"
)
_WHEN: Final = re.compile(
    r"( ON SCHEDULE EVERY (?:'[^']*'|\S+) \w+)(?: STARTS '[^']*')?(?: ENDS '[^']*')?"
)

_ROUTINES_SHOWN: Final = (
    "SHOW_ROUTINE ON *.* (MySQL), SHOW CREATE ROUTINE ON {}.* (MariaDB from 11.3) or "
    "SELECT ON mysql.proc (MariaDB before it)"
)
_GRANTS: Final = {
    "function": _ROUTINES_SHOWN,
    "procedure": _ROUTINES_SHOWN,
    "view": "SHOW VIEW ON {}.*",
    "trigger": "TRIGGER ON {}.*",
}
"""What an account lacks to which the engine does not show how a thing is defined."""


def definitions(connection: Connection) -> dict[Thing, str]:
    """Each thing of the database (`orm.backends.Migrations.definitions`).

    Raises:
        MigrationError: the account sees that one is there, and not how it is defined.
    """
    found: dict[Thing, str] = {}
    for thing, said in what_is_shown(connection).items():
        if said is None:
            quote = connection.dialect.identifier_preparer.quote_identifier
            here = quote(str(connection.scalar(text("SELECT DATABASE()"))))
            raise MigrationError(
                f"the account {connection.engine.url.username} may not see how the {thing.kind} "
                f"{thing.name} is defined, so that nothing can be compared with it, and no "
                f"checkpoint can make it: GRANT {_GRANTS[thing.kind].format(here)} TO the account"
            )
        found[thing] = said
    return found


def what_is_shown(connection: Connection) -> dict[Thing, str | None]:
    """Each thing of the database; None where the account may not see how it is defined."""
    return dict([*_of_tables(connection), *_beyond(connection)])


def tables_of(connection: Connection) -> dict[str, str]:
    """The tables, views and sequences of the database: of each name, the kind."""
    rows = connection.exec_driver_sql("SHOW FULL TABLES")
    return {str(name): str(kind) for name, kind in rows}


def _of_tables(connection: Connection) -> Iterator[tuple[Thing, str | None]]:
    # MySQL shows the character set of a column also where it is that of its table, if a statement
    # has said so.
    inherited = {(table, column) for table, column in connection.execute(_INHERITED)}
    for name, kind in tables_of(connection).items():
        if kind in _TABLES:
            for thing, said in _table(name, str(_shown(connection, "TABLE", name))):
                its = thing.kind == "column" and (thing.table, thing.name) in inherited
                yield thing, _CHARSET.sub(r"\1", said, count=1) if its else said
        elif kind == "SEQUENCE":
            yield Thing("sequence", name, name), _shown(connection, "SEQUENCE", name)


def _shown(connection: Connection, kind: str, name: str) -> str | None:
    """What the engine says of one thing, in the column whose name begins with ``Create``."""
    quoted = connection.dialect.identifier_preparer.quote_identifier(name)
    row: Any = connection.exec_driver_sql(f"SHOW CREATE {kind} {quoted}").mappings().one()
    said: str | None = next(value for key, value in row.items() if key.startswith("Create "))
    return said


def _table(table: str, created: str) -> Iterator[tuple[Thing, str]]:
    body, _, options = created.rpartition("\n)")
    yield Thing("table", table, table), _COUNTER.sub("", options).strip()
    _, *items = _ITEM.split(body)
    for item in items:
        yield _item(table, item.removesuffix(","))


def _item(table: str, item: str) -> tuple[Thing, str]:
    if found := _COLUMN.fullmatch(item):
        return Thing("column", table, _name(found[1])), found[2]
    if found := _KEY.fullmatch(item):
        kind = "constraint" if item.startswith("UNIQUE") else "index"
        return Thing(kind, table, _name(found[1])), item
    if found := _CONSTRAINT.fullmatch(item):
        definition = re.sub("^CHECK", "check", found[2])
        return Thing("constraint", table, _name(found[1])), definition
    kind = "constraint" if item.startswith("PRIMARY KEY") else "period"
    return Thing(kind, table, "PRIMARY" if kind == "constraint" else item), item


def _name(quoted: str) -> str:
    return quoted[1:-1].replace("``", "`")


def _beyond(connection: Connection) -> Iterator[tuple[Thing, str | None]]:
    quote = connection.dialect.identifier_preparer.quote_identifier
    here = f"{quote(str(connection.scalar(text('SELECT DATABASE()'))))}."
    for name, query in connection.execute(_VIEWS):
        made = f"CREATE VIEW {quote(name)} AS {query.replace(here, '')}" if query else None
        yield Thing("view", name, name), made
    for table, name, timing, happens, body in connection.execute(_TRIGGERS):
        made = f"{timing} {happens} ON {quote(table)} FOR EACH ROW {body}"
        yield (
            Thing("trigger", table, name),
            f"CREATE TRIGGER {quote(name)} {made}" if body else None,
        )
    for kind, name in connection.execute(_ROUTINES).all():
        said = _shown(connection, kind, name)
        yield Thing(kind.lower(), name, name), said and _DEFINER.sub("", said, count=1)
    for name, said in events(connection):
        # When it begins is often counted from the moment at which it was made.
        yield Thing("event", name, name), _WHEN.sub(r"\1", said, count=1)


def events(connection: Connection) -> Iterator[tuple[str, str]]:
    """The scheduler's events that recur, with the statement that makes each.

    An event for one time is gone after it. An account without the right EVENT sees none.
    """
    for name in connection.scalars(_EVENTS).all():
        yield name, _DEFINER.sub("", str(_shown(connection, "EVENT", name)), count=1)
