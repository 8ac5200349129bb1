"""The clauses of a ``CREATE TABLE`` that no pragma of SQLite tells: CHECKs, COLLATE, …"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

__all__ = ["OPAQUE", "Clause", "clauses", "definition_of", "folded", "quoted", "unquoted"]

OPAQUE: Final = r"""--[^\n]*|/\*.*?\*/                       # comments
    |'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]"""
"""What is not to be looked into, as a verbose expression: comments, strings, quoted names."""
_TOKEN: Final = re.compile(rf"{OPAQUE}|[\w$]+|[^\s\w$]", re.VERBOSE | re.DOTALL)
_KEY: Final = "PRIMARY KEY"
_REFERENCE: Final = "FOREIGN KEY"
_OF_THE_TABLE: Final = frozenset({"CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"})


@dataclass(frozen=True, slots=True)
class Clause:
    """One thing that a table's definition says.

    Attributes:
        kind: ``CHECK``, ``COLLATE``, ``AUTOINCREMENT``, ``ON CONFLICT``, ``DEFERRABLE``, ``AS``
            (a generated column), ``PRIMARY KEY`` (one with an order or a collation of its own),
            ``UNIQUE``, ``FOREIGN KEY`` (one that has a name), ``WITHOUT ROWID`` or ``STRICT``.
        text: as it is written, without the kind and the outer parentheses.
        column: whose definition it is in, if it is in a column's.
        constraint: the name of the constraint, if it has one.
        words: all of `text` that may be a name, in lower case.
        key: the columns of a key that has no order and no collation of its own.
    """

    kind: str
    text: str
    column: str | None
    constraint: str | None
    words: frozenset[str] = frozenset()
    key: tuple[str, ...] = ()

    @property
    def meaning(self) -> tuple[str, ...]:
        """Equal for two clauses that differ in case, white space and quotes only."""
        return (self.kind, *(_plain(token) for token in _tokens(self.text)))

    def __str__(self) -> str:
        text = f"({self.text})" if self.kind in ("CHECK", "AS") else self.text
        said = " ".join(part for part in (self.kind, text) if part)
        return f"{said} on {self.column}" if self.column else said


def folded(name: str) -> str:
    """A name as SQLite compares it: without regard to case, which only ASCII has for it."""
    return name.encode().lower().decode()


def quoted(name: str) -> str:
    """A name as an identifier in SQL."""
    return '"' + name.replace('"', '""') + '"'


def unquoted(token: str) -> str:
    """The name that a token of SQL stands for."""
    if token[:1] in "\"`'":
        return token[1:-1].replace(token[0] * 2, token[0])
    return token[1:-1] if token[:1] == "[" else token


def definition_of(connection: Connection, table: str) -> list[Clause]:
    """The clauses of a table that is there; upper and lower case of its name are the same."""
    sql = connection.exec_driver_sql(
        "SELECT sql FROM sqlite_master WHERE type = 'table' AND lower(name) = lower(?)", (table,)
    ).scalar_one()
    return clauses(sql)


def clauses(sql: str) -> list[Clause]:
    """Take apart the text of a table in ``sqlite_master``."""
    matches = [match for match in _TOKEN.finditer(sql) if not _is_comment(match)]
    opening = next(at for at, match in enumerate(matches) if match.group() == "(")
    closing = _closing(matches, opening)
    found: list[Clause] = []
    for definition in _split(matches[opening + 1 : closing]):
        found += _in_definition(sql, definition)
    options = " ".join(match.group().upper() for match in matches[closing + 1 :])
    found += [
        Clause(option, "", None, None)
        for option in ("WITHOUT ROWID", "STRICT")
        if re.search(rf"\b{option}\b", options)
    ]
    return found


def _in_definition(sql: str, tokens: Sequence[re.Match[str]]) -> Iterator[Clause]:
    words = [token.group().upper() for token in tokens]
    column = None if words[0] in _OF_THE_TABLE else unquoted(tokens[0].group())
    name: str | None = None
    at = 0 if column is None else 1
    while at < len(tokens):
        word = words[at]
        after = words[at + 1] if at + 1 < len(words) else ""
        if word == "CONSTRAINT":
            name = unquoted(tokens[at + 1].group())
            at += 1
        elif word in ("CHECK", "AS") and after == "(":
            end = _closing(tokens, at + 1)
            text = sql[tokens[at + 1].end() : tokens[end].start()].strip()
            mentioned = frozenset(_plain(token.group()) for token in tokens[at + 2 : end])
            yield Clause(word, text, column, name if word == "CHECK" else None, mentioned)
            name, at = None, end
        elif word in ("UNIQUE", "REFERENCES") and column is not None:
            kind = "UNIQUE" if word == "UNIQUE" else _REFERENCE
            if kind == "UNIQUE" or name is not None:
                yield Clause(kind, f"({quoted(column)})", None, name, key=(column,))
            name = None
        elif word == "(":  # of a type, a default, a key
            end = _closing(tokens, at)
            kind = {"UNIQUE": "UNIQUE", "KEY": f"{words[at - 2]} KEY"}.get(words[at - 1], "")
            has_order = not {"DESC", "COLLATE"}.isdisjoint(words[at:end])
            if (
                (kind == "UNIQUE")
                or (kind == _KEY and has_order)
                or (kind == _REFERENCE and name is not None)
            ):
                text = sql[tokens[at].start() : tokens[end].end()]
                key = () if has_order else tuple(_names(tokens[at + 1 : end]))
                yield Clause(kind, text, column, name, key=key)
            at = end
        elif word in ("NULL", "DEFAULT", "GENERATED"):
            name = None  # it was theirs
        elif word == "COLLATE":
            yield Clause(word, unquoted(tokens[at + 1].group()), column, None)
        elif word == "AUTOINCREMENT":
            yield Clause(word, "", column, None)
        elif word == "DESC":
            yield Clause(_KEY, word, column, name)
        elif word == "CONFLICT":
            yield Clause("ON CONFLICT", words[at + 1], column, name)
        elif word == "DEFERRABLE" and words[at - 1] != "NOT":
            timing = words[at + 2] if after == "INITIALLY" else "IMMEDIATE"
            if timing == "DEFERRED":  # without the clause a key is NOT DEFERRABLE
                yield Clause(word, "INITIALLY DEFERRED", column, name)
        at += 1


def _names(tokens: Sequence[re.Match[str]]) -> Iterator[str]:
    """The columns of a key."""
    for part in _split(tokens):
        yield unquoted(part[0].group())


def _tokens(sql: str) -> list[str]:
    return [match.group() for match in _TOKEN.finditer(sql) if not _is_comment(match)]


def _is_comment(match: re.Match[str]) -> bool:
    return match.group().startswith(("--", "/*"))


def _plain(token: str) -> str:
    return token if token.startswith("'") else unquoted(token).casefold()


def _closing(tokens: Sequence[re.Match[str]], opening: int) -> int:
    depth = 0
    for at in range(opening, len(tokens)):
        depth += {"(": 1, ")": -1}.get(tokens[at].group(), 0)
        if depth == 0:
            return at
    raise ValueError("unbalanced parentheses")  # SQLite would not have taken it


def _split(tokens: Sequence[re.Match[str]]) -> Iterator[list[re.Match[str]]]:
    """Split at the commas outside of parentheses."""
    part: list[re.Match[str]] = []
    depth = 0
    for token in tokens:
        depth += {"(": 1, ")": -1}.get(token.group(), 0)
        if depth == 0 and token.group() == ",":
            yield part
            part = []
        else:
            part.append(token)
    yield part
