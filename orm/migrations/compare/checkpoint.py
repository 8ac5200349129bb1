"""Writing a checkpoint: the schema that a history has made, as one revision."""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, MetaData, func, select

from orm.backends import Thing, migrations_for
from orm.exceptions import MigrationError
from orm.migrations.compare.differences import Difference, drift, of_models
from orm.migrations.compare.models import made_by_models, sides
from orm.migrations.compare.refusing import refuse_in
from orm.migrations.compare.replay import Replay
from orm.migrations.compare.schema import tables_of
from orm.migrations.compare.standing import made_alone
from orm.migrations.compare.writing import Draft, follow
from orm.migrations.files.numbers import Renumbered, rewritten
from orm.migrations.files.revisions import read_file
from orm.migrations.ledger import table as ledger

__all__ = ["Checkpoint", "History", "write_checkpoint"]

_COLON: Final = re.compile(r"(?<![:\w\\]):(?=\w)")
"""What SQLAlchemy's `text` would take for the beginning of a parameter."""
_ESCAPED: Final = r"\\:"
_DOWN: Final = re.compile(r"^down_revision\b.*\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class History:
    """What a checkpoint stands for.

    Attributes:
        replaces: what its variable of this name says.
        number: the checkpoint's own.
        rows: whether the rows in the replay are the history's, and not a user's.
    """

    replaces: str | tuple[str, ...]
    number: int
    rows: bool = True


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that was written.

    Attributes:
        revision: its number.
        path: the file.
        tables: how many tables it makes.
        left: what the history has and it does not make; it fails before that is written by hand.
        models: where the models differ from the history.
    """

    revision: str
    path: Path
    tables: int
    left: Sequence[Difference]
    models: Sequence[Difference]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "revision": self.revision,
            "path": str(self.path),
            "tables": self.tables,
            "left": [{"subject": one.subject, "message": one.fact} for one in self.left],
            "models": [{"subject": one.subject, "message": one.fact} for one in self.models],
        }


def write_checkpoint(made: Replay, history: History, message: str, slug: str) -> Checkpoint:
    """Write the revision that makes the schema of a database, and see that it does.

    Args:
        made: the database, and the models.
        history: what made it.
        message: the first line of the revision's docstring.
        slug: of its file's name.

    Raises:
        MigrationError: there are no tables; or the models cannot be compared with them.
    """
    url = made.url
    migrations = migrations_for(url)
    ours = migrations.reserved_tables | {ledger.TABLE.name, ledger.VERSION.name}
    wanted = migrations.definitions(made.connection)
    by_models, refused = _by_models(made)
    tables = tables_of(made.connection, made.metadata, wanted, by_models, ours)
    first, last = map(list, migrations.beyond_models(made.connection))
    path = _written(made, tables, history, message, slug, (first, last))
    alone = made_alone(read_file(path), url, made.options, beside=not history.rows)
    if odd := [thing for thing in _indexes(wanted) if alone.get(thing) != wanted[thing]]:
        # SQLAlchemy reads an index without its order, for example; the engine says all of it.
        for table in tables.tables.values():
            for index in [one for one in table.indexes if str(one.name).lower() in _names(odd)]:
                table.indexes.discard(index)
        path.unlink()
        path = _written(
            made, tables, history, message, slug, (first, last + [wanted[thing] for thing in odd])
        )
        alone = made_alone(read_file(path), url, made.options, beside=not history.rows)
    left = drift(alone, wanted, ours, by=path.stem.partition("_")[0])
    if history.rows:
        left += _with_rows(made.connection, tables)
    if left:
        refuse_in(path, left)
    return Checkpoint(
        path.stem.partition("_")[0],
        path,
        len(tables.tables),
        left,
        refused or of_models(sides(made, by_models)),
    )


def _written(
    made: Replay,
    tables: MetaData,
    history: History,
    message: str,
    slug: str,
    beyond: tuple[Sequence[str], Sequence[str]],
) -> Path:
    """Write the file that makes tables, and what goes beyond models before and after them."""
    url = made.url
    migrations = migrations_for(url)
    schemas = {table.schema for table in tables.tables.values() if table.schema}
    with migrations.scratch(url) as empty:
        migrations.prepare_scratch(empty, schemas, migrations.definitions(made.connection))
        beginning = Replay(made.application, empty, url, instead=tables, engines=made.engines)
        beginning.upgrade(None)
        written = follow(
            [Draft.begun(beginning, made_by_models(beginning), message, slug)], lambda *_: ()
        )
    if written is None:
        raise MigrationError("there are no tables: there is no history to stand for")
    path = _numbered(written.path, history)
    _add(path, made.connection.dialect.name, *beyond)
    return path


def _indexes(definitions: Mapping[Thing, str]) -> list[Thing]:
    return [thing for thing in definitions if thing.kind == "index"]


def _names(things: Sequence[Thing]) -> set[str]:
    return {thing.name.lower() for thing in things}


def _by_models(made: Replay) -> tuple[Mapping[Thing, str], list[Difference]]:
    """What the models make; nothing, and why, if they do not make their tables."""
    try:
        return made_by_models(made), []
    except MigrationError as error:  # what the history has made is known without them
        return {}, [Difference("model", "models", str(error))]


def _numbered(path: Path, history: History) -> Path:
    """Give the revision its number, and say in it what it replaces."""
    text = path.read_text("utf-8")
    replaces = f"replaces = {history.replaces!r}".replace("'", '"')
    path.write_text(_DOWN.sub(lambda found: f"{found[0]}{replaces}\n", text, count=1), "utf-8")
    change = Renumbered(read_file(path), f"{history.number:04d}", None)
    content = rewritten(change)
    path.unlink()
    change.path.write_bytes(content)
    return change.path


def _add(path: Path, dialect: str, first: Sequence[str], last: Sequence[str]) -> None:
    """Add what no model makes, for the engine whose it is."""
    if not first and not last:
        return
    text = path.read_text("utf-8")
    upgrade = next(
        node
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef) and node.name == "upgrade"
    )
    lines = text.splitlines(keepends=True)
    end = upgrade.body[-1].end_lineno or len(lines)
    lines[end:end] = _executed(dialect, last)
    begin = upgrade.body[0].lineno - 1
    lines[begin:begin] = _executed(dialect, first)
    path.write_text("".join(lines), "utf-8")


def _executed(dialect: str, statements: Sequence[str]) -> list[str]:
    if not statements:
        return []
    return [
        f'    if op.get_context().dialect.name == "{dialect}":\n',
        *(f"        op.execute({_COLON.sub(_ESCAPED, sql)!r})\n" for sql in statements),
    ]


def _with_rows(connection: Connection, tables: MetaData) -> list[Difference]:
    """The tables into which the history itself puts rows."""
    found: list[Difference] = []
    for table in tables.tables.values():
        rows = connection.scalar(select(func.count()).select_from(table)) or 0
        if rows:
            found.append(
                Difference(
                    "drift",
                    f"rows of {table.fullname}",
                    f"the history puts {rows} row(s) into {table.fullname}: write "
                    "op.bulk_insert(…), if a new database needs them",
                )
            )
    return found
