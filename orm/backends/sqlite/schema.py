"""The clauses of a ``CREATE TABLE`` that no pragma of SQLite tells: CHECKs, COLLATE, …"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from orm.backends.sqlite.tokens import LEXER
from orm.backends.tokens import Token, closing, split

__all__ = ["Clause", "clauses", "definition_of", "folded", "quoted"]

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
        return (self.kind, *map(_plain, LEXER(self.text)))

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


def definition_of(connection: Connection, table: str) -> list[Clause]:
    """The clauses of a table that is there; upper and lower case of its name are the same."""
    sql = connection.exec_driver_sql(
        "SELECT sql FROM sqlite_master WHERE type = 'table' AND lower(name) = lower(?)", (table,)
    ).scalar_one()
    return clauses(sql)


def clauses(sql: str) -> list[Clause]:
    """Take apart the text of a table in ``sqlite_master``."""
    tokens = LEXER(sql)
    opening = next(at for at, token in enumerate(tokens) if token.word == "(")
    end = closing(tokens, opening)
    found: list[Clause] = []
    for definition in split(tokens[opening + 1 : end]):
        found += _in_definition(sql, definition)
    options = " ".join(token.word for token in tokens[end + 1 :])
    found += [
        Clause(option, "", None, None)
        for option in ("WITHOUT ROWID", "STRICT")
        if option in options
    ]
    return found


def _in_definition(sql: str, tokens: Sequence[Token]) -> Iterator[Clause]:
    words = [token.word for token in tokens]
    column = None if words[0] in _OF_THE_TABLE else tokens[0].identifier
    name: str | None = None
    at = 0 if column is None else 1
    while at < len(tokens):
        word = words[at]
        after = words[at + 1] if at + 1 < len(words) else ""
        if word == "CONSTRAINT":
            name = tokens[at + 1].identifier
            at += 1
        elif word in ("CHECK", "AS") and after == "(":
            end = closing(tokens, at + 1)
            text = sql[tokens[at + 1].end : tokens[end].start].strip()
            mentioned = frozenset(_plain(token) for token in tokens[at + 2 : end])
            yield Clause(word, text, column, name if word == "CHECK" else None, mentioned)
            name, at = None, end
        elif word in ("UNIQUE", "REFERENCES") and column is not None:
            kind = "UNIQUE" if word == "UNIQUE" else _REFERENCE
            if kind == "UNIQUE" or name is not None:
                yield Clause(kind, f"({quoted(column)})", None, name, key=(column,))
            name = None
        elif word == "(":  # of a type, a default, a key
            end = closing(tokens, at)
            kind = {"UNIQUE": "UNIQUE", "KEY": f"{words[at - 2]} KEY"}.get(words[at - 1], "")
            has_order = not {"DESC", "COLLATE"}.isdisjoint(words[at:end])
            if (
                (kind == "UNIQUE")
                or (kind == _KEY and has_order)
                or (kind == _REFERENCE and name is not None)
            ):
                text = sql[tokens[at].start : tokens[end].end]
                key = () if has_order else tuple(_names(tokens[at + 1 : end]))
                yield Clause(kind, text, column, name, key=key)
            at = end
        elif word in ("NULL", "DEFAULT", "GENERATED"):
            name = None  # it was theirs
        elif word == "COLLATE":
            yield Clause(word, tokens[at + 1].identifier, column, None)
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


def _names(tokens: Sequence[Token]) -> Iterator[str]:
    """The columns of a key."""
    for part in split(tokens):
        yield part[0].identifier


def _plain(token: Token) -> str:
    return token.text if token.kind == "string" else token.identifier.casefold()
