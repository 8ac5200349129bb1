"""The rows that stand in the way of a change of their table: how many, and an example.

A server names one of them at most. The statement that failed says what it asks of all rows: it is
read, and the rows that do not have it are counted.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

__all__ = ["in_the_way"]

_ONE: Final = r"(?:\w+|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`)"
_NAME: Final = rf"{_ONE}(?:\.{_ONE})?"
_OPTIONS: Final = re.IGNORECASE | re.DOTALL
_ALTERS: Final = re.compile(
    rf"\s*ALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?({_NAME})\s+(.*)", _OPTIONS
)
_INDEX: Final = re.compile(
    rf"\s*CREATE\s+UNIQUE\s+INDEX\s.*?\bON\s+(?:ONLY\s+)?({_NAME})\s*[^(]*(\(.*)", _OPTIONS
)
_NOT_NULL: Final = re.compile(rf"ALTER\s+(?:COLUMN\s+)?({_ONE})\s+SET\s+NOT\s+NULL", _OPTIONS)
_TYPE: Final = re.compile(
    rf"ALTER\s+(?:COLUMN\s+)?({_ONE})\s+(?:SET\s+DATA\s+)?TYPE\s+(.+?)"
    r"(?:\s+COLLATE\s.*|\s+USING\s.*)?$",
    _OPTIONS,
)
_DEFINED: Final = re.compile(
    rf"(?:MODIFY\s+(?:COLUMN\s+)?({_ONE})|CHANGE\s+(?:COLUMN\s+)?({_ONE})\s+{_ONE})\s+(.+)",
    _OPTIONS,
)
_ADDS: Final = rf"ADD\s+(?:CONSTRAINT\s+(?:{_ONE}\s+)?)?"
_CHECK: Final = re.compile(rf"{_ADDS}CHECK\s*(\(.*)", _OPTIONS)
_KEY: Final = re.compile(rf"{_ADDS}(UNIQUE|PRIMARY\s+KEY)\b[^(]*(\(.*)", _OPTIONS)
_REFERENCE: Final = re.compile(rf"{_ADDS}FOREIGN\s+KEY\b[^(]*(\(.*)", _OPTIONS)
_PARENT: Final = re.compile(rf"\s*REFERENCES\s+({_NAME})\s*(\(.*)", _OPTIONS)
_WHERE: Final = re.compile(r"\bWHERE\s+(.*)", _OPTIONS)
_TERM: Final = re.compile(rf"({_ONE})?\s*(\(.*)?", _OPTIONS)
_PIECES: Final = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`|.", re.DOTALL)


class _Demand(NamedTuple):
    """What a statement asks of the rows of a table.

    Attributes:
        what: what fails, as people say it.
        rows: a query for the number of rows that are in the way, and an example of their values;
            None if the engine has none.
        how: what is wrong with these rows.
    """

    what: str
    rows: str | None
    how: str


def in_the_way(
    connection: Connection,
    statement: str,
    *,
    no_value: Callable[[str, str], str | None] | None = None,
    when: str = "",
) -> Iterator[str]:
    """What a statement asks of rows that do not have it, as far as it can be told.

    Args:
        connection: on which nothing is left to be done: it is rolled back.
        statement: the ALTER TABLE or CREATE UNIQUE INDEX that rows have made fail.
        no_value: makes, of a column and a type, the condition of a value that is none of the type;
            None if the engine has none, or makes none of this type.
        when: which rows were counted, if these are not those that the statement has met.

    Yields:
        Sentences for people, without a full stop.
    """
    demands = list(_demands(statement, no_value))
    said = [sentence for one in demands if (sentence := _counted(connection, one, when))]
    if not said and len({one.what.partition(" ")[0] for one in demands}) == 1:
        said = [demands[-1].what]  # it is the only column, or key, that can be meant
    yield from said


def _counted(connection: Connection, demand: _Demand, when: str) -> str | None:
    if demand.rows is None:
        return None
    try:
        found = connection.exec_driver_sql(demand.rows).first()
    except DBAPIError:
        return None  # the revision may have made the column: the error is said without a number
    finally:
        connection.rollback()
    if found is None or not found[0]:
        return None
    count, *values = found
    example = f", such as {values[0] if len(values) == 1 else tuple(values)!r}" if values else ""
    return f"{demand.what}: {count} {demand.how}{example}{when}"


# What a statement asks -----------------------------------------------------------------------


def _demands(
    statement: str, no_value: Callable[[str, str], str | None] | None
) -> Iterator[_Demand]:
    if found := _INDEX.match(statement):
        columns, rest = _enclosed(found[2])
        where = _WHERE.search(rest)
        yield _unique(found[1], _split(columns), where[1] if where else None)
    elif found := _ALTERS.match(statement):
        for part in _split(found[2].rstrip("; \n")):
            yield from _of_part(found[1], part, no_value)


def _of_part(
    table: str, part: str, no_value: Callable[[str, str], str | None] | None
) -> Iterator[_Demand]:
    """What one of the changes of an ALTER TABLE asks."""
    if found := _NOT_NULL.match(part):
        yield _required(table, found[1])
    elif found := _TYPE.match(part):
        yield _typed(table, found[1], found[2], no_value)
    elif found := _DEFINED.match(part):
        column = found[1] or found[2]
        if re.search(r"\bNOT\s+NULL\b", found[3], _OPTIONS):
            yield _required(table, column)
        yield _typed(table, column, found[3], no_value)
    elif found := _CHECK.match(part):
        condition, _ = _enclosed(found[1])
        rows = f"SELECT count(*) FROM {table} WHERE NOT ({condition})"
        yield _Demand(f"{_plain(table)} cannot have CHECK ({condition})", rows, "row(s) break it")
    elif found := _KEY.match(part):
        columns = _split(_enclosed(found[2])[0])
        if found[1].upper() != "UNIQUE":
            yield from (_required(table, column) for column in columns)
        yield _unique(table, columns, None)
    elif found := _REFERENCE.match(part):
        own, rest = _enclosed(found[1])
        if parent := _PARENT.match(rest):
            yield _reference(table, _split(own), parent[1], _split(_enclosed(parent[2])[0]))


def _required(table: str, column: str) -> _Demand:
    return _Demand(
        f"{_plain(table)}.{_plain(column)} cannot become NOT NULL",
        f"SELECT count(*) FROM {table} WHERE {column} IS NULL",
        "row(s) have NULL there",
    )


def _typed(
    table: str, column: str, type_: str, no_value: Callable[[str, str], str | None] | None
) -> _Demand:
    rows = None
    if no_value is not None and (condition := no_value(column, type_)) is not None:
        misfits = f"FROM {table} WHERE {condition}"
        rows = f"SELECT count(*) OVER (), {column} {misfits} LIMIT 1"
    what = f"{_plain(table)}.{_plain(column)} cannot become {type_}"
    return _Demand(what, rows, f"row(s) have a value there that is no {type_}")


def _unique(table: str, columns: Sequence[str], where: str | None) -> _Demand:
    terms = [_term(column) for column in columns]
    conditions = [f"{term} IS NOT NULL" for term in terms] + ([f"({where})"] if where else [])
    listed = ", ".join(terms)
    return _Demand(
        f"{_named(table, terms)} cannot be unique",
        f"SELECT count(*) OVER (), {listed} FROM {table} WHERE {' AND '.join(conditions)} "
        f"GROUP BY {listed} HAVING count(*) > 1 ORDER BY {listed} LIMIT 1",
        "value(s) are there more than once",
    )


def _reference(table: str, columns: Sequence[str], parent: str, theirs: Sequence[str]) -> _Demand:
    same = " AND ".join(
        f"there.{its} = here.{column}" for its, column in zip(theirs, columns, strict=False)
    )
    present = " AND ".join(f"here.{column} IS NOT NULL" for column in columns)
    listed = ", ".join(f"here.{column}" for column in columns)
    return _Demand(
        f"{_named(table, columns)} cannot refer to {_named(parent, theirs)}",
        f"SELECT count(*) OVER (), {listed} FROM {table} AS here WHERE {present} AND NOT EXISTS "
        f"(SELECT 1 FROM {parent} AS there WHERE {same}) ORDER BY {listed} LIMIT 1",
        "row(s) have a value that is not there",
    )


def _named(table: str, columns: Sequence[str]) -> str:
    names = [_plain(column) for column in columns]
    return _plain(table) + (f".{names[0]}" if len(names) == 1 else f" ({', '.join(names)})")


def _plain(name: str) -> str:
    return re.sub(r"[\"`]", "", name)


# SQL ----------------------------------------------------------------------------------------


def _term(column: str) -> str:
    """A column or an expression of an index, without its order or operator class."""
    found = _TERM.match(column)
    assert found is not None
    name, rest = found[1] or "", found[2]
    return name if rest is None else f"{name}({_enclosed(rest)[0]})"


def _split(text: str) -> list[str]:
    """The items of a list: a comma within parentheses or quotes is part of an item."""
    items, depth = [""], 0
    for piece in _PIECES.findall(text):
        depth += {"(": 1, ")": -1}.get(piece, 0)
        if piece == "," and depth == 0:
            items.append("")
        else:
            items[-1] += piece
    return [item.strip() for item in items]


def _enclosed(text: str) -> tuple[str, str]:
    """What is in the parentheses with which a text begins, and what follows them."""
    depth, at = 0, 0
    for piece in _PIECES.findall(text):
        depth += {"(": 1, ")": -1}.get(piece, 0)
        at += len(piece)
        if depth == 0:
            break
    return text[1 : at - 1], text[at:]
