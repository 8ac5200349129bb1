"""Writing a checkpoint: the schema that a history has made, as one revision."""

import ast
import re
from collections.abc import Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from sqlalchemy import Connection, MetaData, func, select

from orm.backends import Thing, migrations_for
from orm.exceptions import MigrationError
from orm.migrations.compare.differences import Difference, drift, of_models, on_engines
from orm.migrations.compare.draft import Draft
from orm.migrations.compare.layout import lay_out
from orm.migrations.compare.models import execute, made_by_models, sides
from orm.migrations.compare.refusing import refuse_in
from orm.migrations.compare.replay import Replay
from orm.migrations.compare.schema import tables_of
from orm.migrations.compare.standing import made_alone
from orm.migrations.compare.writing import follow
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


def write_checkpoint(
    histories: Sequence[Replay], history: History, message: str, slug: str
) -> Checkpoint:
    """Write the revision that makes the schema of a database on each engine, and see that it does.

    Args:
        histories: of each engine the database, and the models; the first one's file it is.
        history: what made them.
        message: the first line of the revision's docstring.
        slug: of its file's name.

    Raises:
        MigrationError: there are no tables; or the models cannot be compared with them; or what was
            written fails.
    """
    parts = [_Part.of(made, its_own=not (history.rows or at)) for at, made in enumerate(histories)]
    path = _written(parts, history, message, slug)
    odd = [part.take_odd_indexes(path) for part in parts]
    if any(odd):
        path.unlink()
        path = _written(parts, history, message, slug)
    number = path.stem.partition("_")[0]
    left: dict[Difference, list[str]] = {}
    models: dict[Difference, list[str]] = {}
    for part in parts:
        for one in part.left(path, by=number, rows=history.rows):
            left.setdefault(one, []).append(part.engine)
        for one in part.beyond():
            models.setdefault(one, []).append(part.engine)
    found = [on_engines(one, engines, len(parts)) for one, engines in left.items()]
    if found:
        refuse_in(path, found)
    lay_out(path)
    return Checkpoint(
        number,
        path,
        len(parts[0].tables.tables),
        found,
        [on_engines(one, engines, len(parts)) for one, engines in models.items()],
    )


@dataclass
class _Part:
    """What a history has made on one engine, and what makes it anew.

    Attributes:
        made: the database, and the models.
        wanted: its definitions.
        by_models: those of what the models make.
        refused: why the models make nothing; empty if they do.
        ours: names of tables to leave out.
        tables: its tables.
        first: what no model makes, before the tables.
        last: the same after them.
        its_own: whether the database is a user's, and no replay.
    """

    made: Replay
    wanted: Mapping[Thing, str]
    by_models: Mapping[Thing, str]
    refused: Sequence[Difference]
    ours: Set[str]
    tables: MetaData
    first: list[str]
    last: list[str]
    its_own: bool

    @classmethod
    def of(cls, made: Replay, *, its_own: bool) -> Self:
        """Look at the database."""
        migrations = migrations_for(made.url)
        ours = migrations.reserved_tables | {ledger.TABLE.name, ledger.VERSION.name}
        wanted = migrations.definitions(made.connection)
        by_models, refused = _by_models(made)
        tables = tables_of(made.connection, made.metadata, wanted, by_models, ours)
        first, last = map(list, migrations.beyond_models(made.connection))
        return cls(made, wanted, by_models, refused, ours, tables, first, last, its_own)

    @property
    def engine(self) -> str:
        """SQLAlchemy's name of the engine."""
        return self.made.connection.dialect.name

    def take_odd_indexes(self, path: Path) -> bool:
        """Say in the engine's words those indexes that a file makes otherwise; whether there are.

        SQLAlchemy reads an index without its order, for example; the engine says all of it.
        """
        alone = self._alone(path)
        odd = [t for t in _indexes(self.wanted) if alone.get(t) != self.wanted[t]]
        for table in self.tables.tables.values():
            for index in [one for one in table.indexes if str(one.name).lower() in _names(odd)]:
                table.indexes.discard(index)
        self.last += [self.wanted[thing] for thing in odd]
        return bool(odd)

    def left(self, path: Path, *, by: str, rows: bool) -> list[Difference]:
        """What a file does not make."""
        found = drift(self._alone(path), self.wanted, self.ours, by=by)
        return found + (_with_rows(self.made.connection, self.tables) if rows else [])

    def beyond(self) -> Sequence[Difference]:
        """What the models have and the history does not."""
        return self.refused or of_models(sides(self.made, self.by_models))

    def _alone(self, path: Path) -> Mapping[Thing, str]:
        made = self.made
        return made_alone(read_file(path), made.url, made.options, beside=self.its_own)


def _written(parts: Sequence[_Part], history: History, message: str, slug: str) -> Path:
    """Write the file that makes tables, and what goes beyond models before and after them."""
    with ExitStack() as stack:
        drafts: list[Draft] = []
        for part in parts:
            made, migrations = part.made, migrations_for(part.made.url)
            schemas = {table.schema for table in part.tables.tables.values() if table.schema}
            empty = stack.enter_context(migrations.scratch(made.url))
            migrations.prepare_scratch(empty, schemas, part.wanted)
            execute(part.first, empty)
            empty.commit()
            beginning = Replay(
                made.application,
                empty,
                made.url,
                instead=part.tables,
                named_by=made.metadata,
                first=part.first,
                engines=made.engines,
            )
            beginning.upgrade(None)
            drafts.append(Draft.begun(beginning, made_by_models(beginning), message, slug))
        written = follow(drafts, lambda *_: ())
    if written is None:
        raise MigrationError("there are no tables: there is no history to stand for")
    path = _numbered(written.path, history)
    for part in parts:
        _add(path, part.engine, part.first, part.last)
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
