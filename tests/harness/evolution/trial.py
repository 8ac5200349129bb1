"""One pair of models, taken from the first to the second: what came of it."""

import re
import shutil
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, time
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final, Literal

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Inspector,
    MetaData,
    Table,
    create_engine,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.pool import NullPool

from orm.backends import migrations_for
from orm.exceptions import OrmError
from orm.migrations.application import Application
from orm.migrations.compare.checking import check_database, check_files
from orm.migrations.compare.renames import Requested
from orm.migrations.compare.writing import Created, create
from orm.migrations.running.applying import apply_now
from orm.migrations.target import target_url
from tests.harness.evolution.kinds import IMPOSSIBLE, ROUND_TRIP, converted
from tests.harness.evolution.schema import Schema, rows, source

__all__ = ["ENGINES", "Outcome", "Place", "Violation", "database_of", "run"]

_TEMPLATE: Final = Path(__file__).parents[3] / "alembic" / "script.py.mako"
_BOOKKEEPING: Final = {
    *("alembic_version", "orm_revisions", "orm_position", "orm_history", "orm_journal")
}


_PLAIN: Final = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
"""Drivers without an event loop."""
ENGINES: Final = tuple(_PLAIN)
_FLAVOURS: Final[dict[str, Literal["mariadb", "mysql"]]] = {"mariadb": "mariadb", "mysql": "mysql"}


class Violation(AssertionError):
    """Neither all of B with all values, nor a refusal with a sentence."""

    def __init__(self, kind: str, said: str, place: "Place | None" = None) -> None:
        self.kind = kind
        written = place.written if place else ""
        super().__init__(f"{kind}: {said}\n\n{written}")


@dataclass(frozen=True)
class Outcome:
    """What came of a pair.

    Attributes:
        kind: ``written``, ``same`` (there was nothing to write), ``left`` (``create`` has named
            what it did not write), ``rows`` (``apply`` has refused because of the rows), ``half
            way`` (it did so after statements that stay, where DDL commits, and has said that).
        why: sentences of a refusal.
    """

    kind: str
    why: Sequence[str] = ()


@dataclass(frozen=True)
class Place:
    """An application in a folder of its own, whose models change.

    Attributes:
        folder: the folder.
        url: of its database; empty for a file of SQLite in the folder.
    """

    folder: Path
    url: str = ""

    @property
    def application(self) -> Application:
        return Application.at(self.folder)

    def make(self) -> None:
        """The application without models, revisions and rows."""
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "alembic" / "versions").mkdir(parents=True)
        shutil.copy(_TEMPLATE, self.folder / "alembic")
        url = self.url or f"sqlite+aiosqlite:///{self.folder}/app.db"
        (self.folder / "pyproject.toml").write_text(
            '[tool.alembic]\nscript_location = "%(here)s/alembic"\nrevision_environment = true\n'
            f'[tool.orm]\nlocal = "{url}"\n'
        )
        if self.url and not self.url.startswith("postgresql"):
            with migrations_for(self.url).begin_anew(make_url(self.url), lambda _: False):
                pass
        elif self.url:
            with self.connected() as connection:
                for name in ("public", "other"):
                    connection.execute(text(f"DROP SCHEMA IF EXISTS {name} CASCADE"))
                    connection.execute(text(f"CREATE SCHEMA {name}"))

    def models(self, schema: Schema) -> MetaData:
        """Make these the models; returns them."""
        code = source(schema)
        (self.folder / "alembic" / "env.py").write_text(
            f"{code}\nfrom orm import migrations\nmigrations.run(metadata)\n"
        )
        names: dict[str, Any] = {}
        exec(compile(code, "models.py", "exec"), names)
        metadata = names["metadata"]
        assert isinstance(metadata, MetaData)
        return metadata

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """To the database, past the library; commits."""
        engine = self.engine()
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()

    def engine(self) -> Engine:
        url = target_url("local", self.folder / "pyproject.toml")
        return create_engine(url.set(drivername=_PLAIN[url.get_backend_name()]))

    @property
    def written(self) -> str:
        """The newest revision."""
        files = sorted((self.folder / "alembic" / "versions").glob("*.py"))
        return files[-1].read_text() if files else ""


@contextmanager
def database_of(engine: str) -> Iterator[str]:
    """The URL of an empty database, on the server on which scratch databases are made as well.

    Args:
        engine: SQLAlchemy's name of it; for SQLite the URL is empty, since each place has a file.
    """
    if engine == "sqlite":
        yield ""
        return
    # Imported here: pairs on SQLite need none of it.
    if engine in _FLAVOURS:
        from orm.testing import mysql

        with mysql.Cluster(_FLAVOURS[engine], standbys=0) as cluster, cluster.database() as name:
            yield cluster.primary.url(database=name)
        return
    from orm.backends.postgresql.scratch_server import running

    with running() as url:
        plain = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with plain.connect() as server:
            server.execute(text("CREATE DATABASE evolution"))
        try:
            yield url.set(database="evolution").render_as_string(hide_password=False)
        finally:  # the server goes on for a while
            with plain.connect() as server:
                server.execute(text("DROP DATABASE evolution WITH (FORCE)"))


def run(pair: tuple[Schema, Schema], place: Place) -> Outcome:
    """Take an application from models A, with rows, to models B.

    Raises:
        Violation: what came of it is neither whole nor refused with a sentence.
    """
    dont_write, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        return _run(pair, place)
    finally:
        sys.dont_write_bytecode = dont_write


def _run(pair: tuple[Schema, Schema], place: Place) -> Outcome:
    old, new = pair
    place.make()
    models = place.models(old)
    refused = _created(place, "a")
    if refused is not None and refused.kind == "left":
        raise Violation("first revision", "; ".join(refused.why), place)
    url = target_url("local", place.folder / "pyproject.toml")
    with _no_traceback("apply A", place):
        apply_now(place.application, url)
    with place.connected() as connection:
        _fill(connection, models, old)
    with place.connected() as connection:
        before = _values(connection, models)

    wanted = place.models(new)
    outcome = _created(place, "b", new.renames)
    if outcome is not None and outcome.kind == "left":
        return outcome
    try:
        with _no_traceback("apply B", place):
            apply_now(place.application, url)
    except OrmError as error:
        with place.connected() as connection:
            stays = connection.dialect.name in _FLAVOURS and " stay" in str(error)
            if stays and "nothing of it stays" not in str(error):
                _no_row_lost(connection, before, new, place)
                return Outcome("half way", [str(error)])
            if _values(connection, models) != before:
                raise Violation("refused, and rows changed", str(error), place) from error
        _no_problems(place, files_only=True)
        return Outcome("rows", [str(error)])
    _no_problems(place)
    with place.connected() as connection:
        _same_schema(connection, wanted, place)
        try:
            after = _values(connection, wanted)
        except (LookupError, UnpicklingError, EOFError) as error:  # of an enum, of a pickle
            raise Violation("value", f"cannot be read: {error}", place) from error
        _kept(before, after, pair, place)
        _found_by_their_values(connection, wanted, pair, place)
    return outcome or Outcome("written")


@contextmanager
def _no_traceback(where: str, place: Place) -> Iterator[None]:
    """Errors of the library go on; all others are violations."""
    try:
        yield
    except OrmError:
        raise
    except Exception as error:
        frames = "".join(traceback.format_exception(error)[-8:])
        raise Violation(f"traceback in {where}", frames, place) from error


def _created(place: Place, name: str, renames: Sequence[str] = ()) -> Outcome | None:
    """The outcome, as far as ``create`` decides it."""
    try:
        with _no_traceback(f"create {name}", place):
            made: Created | None = create(place.application, name, choose=Requested(renames).next)
    except OrmError as error:
        if "cannot be renamed" in str(error):  # it is said what to write by hand
            return Outcome("left", [str(error)])
        kind = "does not run" if "does not run" in str(error) else "refused"
        raise Violation(f"create {name} {kind}", str(error), place) from error
    if made is None:
        return Outcome("same")
    return Outcome("left", [one.fact for one in made.left]) if made.left else None


def _no_problems(place: Place, *, files_only: bool = False) -> None:
    with _no_traceback("check", place):
        found = list(check_files(place.application))
        if not files_only:
            found += check_database(place.application, "local")
    said = [one.message for one in found if getattr(one, "kind", "") != "foreign_key"]
    if said:
        raise Violation("check", "; ".join(said), place)


# Rows --------------------------------------------------------------------------------------


def _fill(connection: Connection, models: MetaData, schema: Schema) -> None:
    if connection.dialect.name == "postgresql":  # tables may refer to each other in circles
        connection.execute(text("SET session_replication_role = replica"))
    if connection.dialect.name in ("mariadb", "mysql"):
        connection.execute(text("SET foreign_key_checks = 0"))
    for table in schema.tables:
        made = _table(models, table.name)
        for row in rows(table, schema):
            connection.execute(made.insert(), row)


def _table(models: MetaData, name: str) -> Table:
    return next(table for table in models.tables.values() if table.name == name)


_Values = Mapping[str, Mapping[int, Mapping[str, Any]]]
"""By table, by number of the row, by column."""


def _values(connection: Connection, models: MetaData) -> _Values:
    return {
        table.name: {
            row["row"]: dict(row) for row in connection.execute(select(table)).mappings().all()
        }
        for table in models.tables.values()
    }


def _no_row_lost(connection: Connection, before: _Values, new: Schema, place: Place) -> None:
    """All rows of the tables that stay are there, by the old name of each or by the new one."""
    there = set(inspect(connection).get_table_names())
    quote = connection.dialect.identifier_preparer.quote
    for made in new.tables:
        was = made.was or made.name
        if was not in before:
            continue
        name = made.name if made.name in there else was
        found = connection.scalars(text(f"SELECT {quote('row')} FROM {quote(name)}"))
        if before[was].keys() != set(found):
            raise Violation("rows lost half way", was, place)


def _kept(before: _Values, after: _Values, pair: tuple[Schema, Schema], place: Place) -> None:
    """Every value that B can hold is still there, as B reads it."""
    old, new = pair
    for table in new.tables:
        was = old.table(table.was or table.name)
        if was is None:
            continue
        if before[was.name].keys() != after[table.name].keys():
            raise Violation("rows lost", table.name, place)
        kinds = {column.name: column for column in was.columns}
        for number, row in after[table.name].items():
            for column in table.columns:
                earlier = kinds.get(column.was or column.name)
                if earlier is None or column.computed is not None or earlier.computed is not None:
                    continue
                value, now = before[was.name][number][earlier.name], row[column.name]
                want = converted(value, earlier.kind, column.kind)
                if want is ROUND_TRIP:
                    want, now = value, converted(now, column.kind, earlier.kind)
                if value is None and now is not None and not column.nullable:
                    continue
                if not _equal(want, now):
                    raise Violation(
                        "value",
                        f"{table.name}.{column.name}: {value!r} became {now!r}"
                        + (", which it cannot hold" if want is IMPOSSIBLE else ""),
                        place,
                    )


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, datetime | time) and isinstance(other, datetime | time):
        return one.replace(tzinfo=None) == other.replace(tzinfo=None)
    return bool(one == other)


def _found_by_their_values(
    connection: Connection, models: MetaData, pair: tuple[Schema, Schema], place: Place
) -> None:
    """A query for a value finds it: it is stored as B stores it."""
    was = {
        (table.name, column.name): (table.was or table.name, column.was or column.name)
        for table in pair[1].tables
        for column in table.columns
    }
    by_default = {
        (table.was or table.name, column.was or column.name)
        for schema in pair
        for table in schema.tables
        for column in table.columns
        if column.server_default is not None  # which may be in another form
    }
    for table in models.tables.values():
        for column in table.c:
            name = was.get((table.name, column.name))
            if name in by_default or not _is_comparable(column):
                continue
            for number, value in connection.execute(select(table.c.row, column)).all():
                if value is not None:
                    query = select(table.c.row).where(column == value)
                    if number not in connection.scalars(query).all():
                        raise Violation("stored form", f"{column}: {value!r}", place)


def _is_comparable(column: Column[Any]) -> bool:
    said = repr(column.type)
    return not any(
        word in said
        for word in ("JSON", "Pickle", "Float", "Double", "REAL", "Numeric", "TSVECTOR")
    )


# The schema, as SQLAlchemy reads it --------------------------------------------------------


def _same_schema(connection: Connection, models: MetaData, place: Place) -> None:
    """SQLAlchemy, which does not know this library's definitions, reflects the same of both."""
    migrations = migrations_for(make_url(connection.engine.url))
    with migrations.scratch(connection.engine.url) as scratch:
        schemas = {table.schema for table in models.tables.values() if table.schema}
        migrations.prepare_scratch(scratch, schemas, {})
        models.create_all(scratch)
        for schema in {table.schema for table in models.tables.values()}:
            found = _reflected(inspect(connection), schema)
            wanted = _reflected(inspect(scratch), schema)
            for thing in sorted(found.keys() | wanted.keys()):
                if found.get(thing) != wanted.get(thing):
                    raise Violation(
                        "schema",
                        f"{thing}: {found.get(thing)!r} and not {wanted.get(thing)!r}",
                        place,
                    )


def _reflected(inspector: Inspector, schema: str | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for table in inspector.get_table_names(schema):
        if table in _BOOKKEEPING:
            continue
        for column in inspector.get_columns(table, schema):
            shown = {
                "type": repr(column["type"]),
                "nullable": column["nullable"],
                "default": _plain(column["default"]),
                "computed": "computed" in column,  # SQLAlchemy reads too far in its expression
                "identity": column.get("identity"),
                "comment": column.get("comment"),
            }
            found[f"{table}.{column['name']}"] = repr(shown)
        key = inspector.get_pk_constraint(table, schema)
        found[f"{table} key"] = repr(key["constrained_columns"])
        foreign = [
            (
                key["constrained_columns"],
                key["referred_table"],
                sorted(_timed(key.get("options", {}), inspector.dialect.name).items()),
            )
            for key in inspector.get_foreign_keys(table, schema)
        ]
        found[f"{table} references"] = repr(sorted(foreign))
        found[f"{table} uniques"] = repr(
            sorted(one["column_names"] for one in inspector.get_unique_constraints(table, schema))
        )
        found[f"{table} checks"] = repr(
            sorted(_plain(one["sqltext"]) for one in inspector.get_check_constraints(table, schema))
        )
        found[f"{table} indexes"] = repr(
            sorted(
                f"{one['name']} {one['unique']} {one.get('expressions', one['column_names'])} "
                f"{sorted((k, str(v)) for k, v in one.get('dialect_options', {}).items())}"
                for one in inspector.get_indexes(table, schema)
                if not one.get("duplicates_constraint")  # PostgreSQL names both alike
            )
        )
    return found


def _timed(options: Mapping[str, Any], engine: str) -> Mapping[str, Any]:
    """A reference's options; SQLite checks all at once but DEFERRABLE INITIALLY DEFERRED."""
    if engine == "sqlite" and options.get("initially") != "DEFERRED":
        return {name: options[name] for name in options if name not in ("deferrable", "initially")}
    return options


def _plain(sql: Any) -> str:
    """Without what makes no difference."""
    return re.sub(r"[\s()\"]|^'|'$", "", str(sql)).lower()
