"""Values as SQL: a statement with its parameters written out."""

import math
import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Final

from orm.backends.literals import literal
from orm.backends.sqlite.tokens import OPAQUE
from orm.exceptions import MigrationError

__all__ = ["terminated", "written_out"]

_PARAMETER: Final = re.compile(
    rf"{OPAQUE}|\w[\w$]*|(?P<parameter>\?\d*|[:@$]\w+)", re.VERBOSE | re.DOTALL
)


def written_out(sql: str, parameters: Any) -> str:
    """A statement with its parameters as literals, which are the same values of the same types.

    Args:
        sql: the statement, as the driver gets it.
        parameters: a sequence or, by name, a mapping.

    Raises:
        MigrationError: a value has no literal.
    """
    if not parameters:
        return sql
    with closing(sqlite3.connect(":memory:")) as judge:
        if isinstance(parameters, Mapping):
            given = {name: _literal(judge, value) for name, value in parameters.items()}
        else:
            given = {str(at): _literal(judge, value) for at, value in enumerate(parameters, 1)}
    last = 0
    text = ""
    end = 0
    for match in _PARAMETER.finditer(sql):
        name = match["parameter"]
        if name is None:
            continue
        key = name[1:]
        if not key:
            last += 1
            key = str(last)
        text += sql[end : match.start()]
        value = given[key]
        # Two minus signs would begin a comment.
        text += f" {value}" if value[0] == "-" == text[-1:] else value
        end = match.end()
    return text + sql[end:]


def terminated(sql: str) -> str:
    """A statement with the semicolon that ends it, also after a comment."""
    text = sql.strip()
    for ending in ("", ";"):
        if sqlite3.complete_statement(text + ending):
            return text + ending
    return f"{text}\n;"


def _literal(judge: sqlite3.Connection, value: Any) -> str:
    (value,) = judge.execute("SELECT ?", (value,)).fetchone()  # as the driver adapts it
    match value:
        case None:
            return "NULL"
        case int():
            text = str(value)
        case float():
            text = repr(value) if math.isfinite(value) else f"{'-' if value < 0 else ''}9e999"
        case bytes():
            text = f"X'{value.hex()}'"
        case _ if "\0" in value:  # where the text of a statement ends
            text = f"CAST(X'{value.encode().hex()}' AS TEXT)"
        case _:
            text = literal(value)
    same = f"SELECT typeof(:value) = typeof({text}) AND :value IS {text}"
    if judge.execute(same, {"value": value}).fetchone() != (1,):
        raise MigrationError(f"SQLite has no literal of {value!r}")
    return text
