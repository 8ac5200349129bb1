"""How a SQLite database is defined, in a form in which two can be compared.

SQLite keeps the text of each CREATE statement, changed by later ALTER TABLE. Here whitespace,
comments, upper and lower case, and the quotes of names make no difference, nor does the order of
what stands in a CREATE TABLE.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from sqlalchemy import Connection, text

from orm.backends.migrations import Thing

__all__ = ["definitions"]

_OBJECTS: Final = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL"
_TOKEN: Final = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?\*/)
    |(?P<literal>x?'(?:[^']|'')*')
    |(?P<name>"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\])
    |(?P<other>[\w$.]+|.)""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_CONSTRAINTS: Final = frozenset({"constraint", "primary", "unique", "check", "foreign"})


def definitions(connection: Connection) -> dict[Thing, str]:
    """Each thing of the schema, and its definition (`orm.backends.Migrations.definitions`)."""
    found: dict[Thing, str] = {}
    for kind, name, table, sql in connection.execute(text(_OBJECTS)):
        if name.startswith("sqlite_"):
            continue
        name, table, tokens = name.lower(), table.lower(), list(_tokens(sql))
        if kind == "table" and tokens[1] == "table":
            found.update(_table(name, tokens))
        else:
            found[Thing(kind, table, name)] = " ".join(tokens)
    return found


def _tokens(sql: str) -> Iterator[str]:
    for token in _TOKEN.finditer(sql):
        match token.lastgroup:
            case "literal":
                yield token[0]
            case "name":
                yield token[0][1:-1].lower()
            case "other":
                yield token[0].lower()
            case _:
                pass


def _table(name: str, tokens: Sequence[str]) -> Iterator[tuple[Thing, str]]:
    opening = tokens.index("(")
    items: list[list[str]] = [[]]
    depth = 0
    for end, token in enumerate(tokens[opening:], start=opening):
        depth += (token == "(") - (token == ")")
        if depth == 0:
            break
        if depth == 1 and token == ",":
            items.append([])
        elif end > opening:
            items[-1].append(token)
    else:
        end = len(tokens)
    yield Thing("table", name, name), " ".join(tokens[end + 1 :])
    for first, *rest in items:
        if first not in _CONSTRAINTS:
            yield Thing("column", name, first), " ".join(rest)
        elif first == "constraint":
            yield Thing("constraint", name, rest[0]), " ".join(rest[1:])
        else:
            definition = " ".join((first, *rest))
            yield Thing("constraint", name, definition), definition
