"""Statements of PostgreSQL's own in a revision, which runs on other engines too."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import MigrateOperation

from orm.backends.labels import update_of_lost
from orm.backends.literals import literal, literals
from orm.backends.postgresql.writing.names import DIALECT, bare, qualified, quote, schema_of

__all__ = ["Statements", "joined", "refuse_if", "refuse_labels"]


class Statements(MigrateOperation):
    """SQL that only PostgreSQL executes.

    Args:
        statements: SQL.
        commits: whether each of them is committed at once, since it cannot be used before.
        stands_for: operations of Alembic's that do to rows what they do.
    """

    def __init__(
        self,
        statements: Sequence[str],
        *,
        commits: bool = False,
        stands_for: Sequence[MigrateOperation] = (),
    ) -> None:
        self.statements: tuple[str, ...] = tuple(statements)
        self.commits = commits
        self.stands_for: tuple[MigrateOperation, ...] = tuple(stands_for)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """For Alembic's log."""
        return ("execute", *self.statements)


@renderers.dispatch_for(Statements)
def _render(_: AutogenContext, operation: Statements) -> list[str]:
    lines = [
        'if op.get_context().dialect.name == "postgresql":',
        *(["with op.get_context().autocommit_block():"] if operation.commits else []),
        *(f"op.execute({_escaped(statement)!r})" for statement in operation.statements),
    ]
    return [*lines, *[""] * (1 + operation.commits)]


def _escaped(statement: str) -> str:
    r"""A statement in which SQLAlchemy's ``text`` finds no parameter (``:name``, as in JSON)."""
    return re.sub(r"(?<![:\w\\]):(?=\w+(?!:))", r"\\:", statement)


def joined(operations: Iterable[MigrateOperation]) -> list[MigrateOperation]:
    """The operations, with statements that follow each other as one."""
    found: list[MigrateOperation] = []
    for operation in operations:
        last = found[-1] if found else None
        if (
            isinstance(operation, Statements)
            and isinstance(last, Statements)
            and operation.commits == last.commits
        ):
            found[-1] = Statements(
                last.statements + operation.statements,
                commits=operation.commits,
                stands_for=last.stands_for + operation.stands_for,
            )
        elif not isinstance(operation, Statements) or operation.statements:
            found.append(operation)
    return found


def refuse_if(table: str, condition: str, message: str) -> str:
    """A statement that fails if a row meets a condition.

    Args:
        table: its name.
        condition: SQL.
        message: what the error says.
    """
    return f"""\
DO $guard$ BEGIN
  IF EXISTS (SELECT FROM {qualified(table)} WHERE {condition}) THEN
    RAISE EXCEPTION USING MESSAGE =
      {literal(message)};
  END IF;
END $guard$"""


def refuse_labels(
    table: str, column: str, labels: Sequence[str], *, added: Sequence[str], is_array: bool
) -> str:
    """A statement that fails if a row has a label that is to go, and names it.

    Args:
        table: its name.
        column: of an enum, or of an array of one.
        labels: those that are to go.
        added: those that are new: the column can have none of them before it has its new type.
        is_array: which of the two.
    """
    name = quote(column)
    value = f"ANY (here.{name}::text[])" if is_array else f"here.{name}::text"
    gone = literals(labels)
    before = literal(f"{table}.{column} cannot lose labels that rows have: ")
    where = schema_of(table), bare(table), column
    update = update_of_lost(DIALECT, where, labels, is_array=is_array)
    advice = f". Update these rows in the same revision, before this statement: {update}"
    if added:
        pair = literal(labels[0]), literal(added[0])
        advice += (
            ". To make a new label of one, delete this statement, and have the next one say "
            + _with_another(name, *pair, is_array=is_array)
            + " in the place of its "
            + _with_another(name, is_array=is_array)
        )
    after = literal(advice)
    return f"""\
DO $guard$ DECLARE lost text; BEGIN
  SELECT string_agg(quote_literal(label) || ' in ' || rows || ' row(s)', ', ') INTO lost
  FROM (
    SELECT gone.label, count(*) AS rows
    FROM {qualified(table)} AS here, unnest(ARRAY[{gone}]) AS gone (label)
    WHERE gone.label = {value}
    GROUP BY gone.label
  ) AS counted;
  IF lost IS NOT NULL THEN
    RAISE EXCEPTION USING MESSAGE =
      {before} || lost ||
      {after};
  END IF;
END $guard$"""


def _with_another(name: str, *labels: str, is_array: bool) -> str:
    """The text of a label, perhaps with another label in the place of one."""
    if is_array:
        text = f"{name}::text[]"
        return f"array_replace({', '.join((text, *labels))})" if labels else text
    text = f"{name}::text"
    if not labels:
        return text
    old, new = labels
    return f"(CASE {text} WHEN {old} THEN {new} ELSE {text} END)"
