"""The optional part that changes schemas."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from io import StringIO
from typing import Any, Final, TypeVar

import pytest
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Executable,
    Integer,
    MetaData,
    Table,
    delete,
    insert,
    inspect,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable

from orm.backends import NotAScript, Thing
from orm.database import Database
from orm.exceptions import MigrationError
from orm.migrations.connecting import on_a_connection
from orm.testing.conformance.rules import ABSENT, METADATA, ROWS, Rules, part, rows

__all__ = ["MigrationRules"]

_T = TypeVar("_T")
_AS_IT_IS: Final[Mapping[str, Any]] = {"existing_type": Integer(), "existing_nullable": False}
"""What a statement of MySQL has to say again of a column that it changes."""
_OTHER: Final = Table("orm_conformance_other", MetaData(), Column("id", Integer))


class MigrationRules(Rules):
    """The rules for `orm.backends.Migrations`."""

    def test_a_migration_that_fails_leaves_nothing(self, database: Database) -> None:
        migrations = part(database.cluster.backend.migrations, "migrations")
        if migrations.journal is not None:
            pytest.skip("a journal has what stays")

        def migrate(connection: Connection) -> None:
            with migrations.migrating(connection, 60), connection.begin():
                _OTHER.create(connection)
                connection.execute(insert(ROWS).values(id=1))
                connection.execute(ABSENT)

        async def check(db: Database) -> None:
            with pytest.raises(MigrationError, match="orm_conformance_absent"):
                await _migrating(db, migrate)
            async with db.cluster.writer.connect() as connection:
                assert not await connection.run_sync(lambda c: inspect(c).has_table(_OTHER.name))
            assert await rows(db.cluster.primary) == []

        self._run(database, check)

    def test_a_statement_that_was_done_is_left_out(self, database: Database) -> None:
        migrations = part(database.cluster.backend.migrations, "migrations")
        journal = part(migrations.journal, "journal")

        def migrate(*fails: Executable) -> Callable[[Connection], None]:
            def work(connection: Connection) -> None:
                with (
                    migrations.migrating(connection, 60),
                    connection.begin(),
                    journal.resuming(connection, "0001", "conformance"),
                ):
                    connection.execute(insert(ROWS).values(id=1))
                    connection.execute(CreateTable(_OTHER))
                    connection.execute(insert(ROWS).values(id=2))
                    for statement in fails:
                        connection.execute(statement)

            return work

        def changed(connection: Connection) -> None:
            with (
                migrations.migrating(connection, 60),
                connection.begin(),
                journal.resuming(connection, "0001", "conformance"),
            ):
                connection.execute(insert(ROWS).values(id=3))
                connection.execute(ABSENT)

        async def check(db: Database) -> None:
            for _ in range(2):
                with pytest.raises(MigrationError, match="orm_conformance_absent"):
                    await _migrating(db, migrate(ABSENT))
                assert await rows(db.cluster.primary) == [1], "committed by what followed it"
                assert await _migrating(db, journal.half_done) == {"0001": 2}
            with pytest.raises(MigrationError):
                await _migrating(db, changed)
            await _migrating(db, migrate())
            assert await rows(db.cluster.primary) == [1, 2]
            await _migrating(db, _OTHER.drop)
            assert await _migrating(db, journal.half_done) == {}

        self._run(database, check)

    def test_a_migration_that_is_sound_is_committed(self, database: Database) -> None:
        migrations = part(database.cluster.backend.migrations, "migrations")

        def migrate(connection: Connection) -> None:
            with migrations.migrating(connection, 60), connection.begin():
                known = migrations.faults(connection)
                assert not known
                migrations.verify(connection, known, [(insert(ROWS), {"id": 1})])

        async def check(db: Database) -> None:
            assert not migrations.is_absent(db.cluster.primary.url)
            await _migrating(db, migrate)
            assert await rows(db.cluster.primary) == [1]

        self._run(database, check)

    def test_an_error_can_be_explained_after_it(self, database: Database) -> None:
        migrations = part(database.cluster.backend.migrations, "migrations")

        def migrate(connection: Connection) -> None:
            with migrations.migrating(connection, 60):
                with pytest.raises(DBAPIError) as refused, connection.begin():
                    connection.execute(ABSENT)
                said = migrations.explain(connection, refused.value)
                assert all(isinstance(sentence, str) for sentence in said)

        async def check(db: Database) -> None:
            await _migrating(db, migrate)

        self._run(database, check)

    def test_an_ended_transaction_is_noticed(self, database: Database) -> None:
        migrations = part(database.cluster.backend.migrations, "migrations")

        def migrate(connection: Connection) -> None:
            with migrations.migrating(connection, 60), connection.begin():
                is_the_same = migrations.watch_transaction(connection)
                connection.execute(insert(ROWS).values(id=1))
                assert is_the_same()
                connection.connection.commit()  # past SQLAlchemy
                assert not is_the_same()
                connection.execute(delete(ROWS))

        async def check(db: Database) -> None:
            await _migrating(db, migrate)

        self._run(database, check)

    def test_what_is_not_understood_is_told_from_what_is_not_there(
        self, database: Database
    ) -> None:
        migrations = part(database.cluster.backend.migrations, "migrations")

        def migrate(connection: Connection) -> None:
            with migrations.migrating(connection, 60):
                with pytest.raises(DBAPIError) as absent, connection.begin():
                    connection.execute(ABSENT)
                assert not migrations.is_not_understood(absent.value)
                assert not migrations.runs_alone(absent.value)
                with pytest.raises(DBAPIError) as foreign, connection.begin():
                    connection.execute(text("SPEAK ANOTHER LANGUAGE"))
                assert migrations.is_not_understood(foreign.value)

        async def check(db: Database) -> None:
            await _migrating(db, migrate)

        self._run(database, check)

    def test_definitions_tell_what_is_there(self, database: Database) -> None:
        migrations = part(database.cluster.backend.migrations, "migrations")

        def replay(db: Database) -> Mapping[Thing, str]:
            url = db.cluster.primary.url
            assert isinstance(migrations.scratch_can_lack, bool)
            # What is compared with the database is on its server.
            with migrations.scratch(url, beside=True) as scratch:
                assert not inspect(scratch).has_table(ROWS.name)
                migrations.prepare_scratch(scratch, (), {})
                METADATA.create_all(scratch)
                return migrations.definitions(scratch)

        async def check(db: Database) -> None:
            async with db.cluster.writer.connect() as connection:
                defined = await connection.run_sync(migrations.definitions)
                beyond = await connection.run_sync(migrations.beyond_models)
            assert not any(ROWS.name in sql for part in beyond for sql in part)
            assert Thing("table", ROWS.name, ROWS.name) in defined
            assert ROWS.name not in migrations.reserved_tables
            assert not migrations.is_generated_name("chosen")
            assert isinstance(migrations.shares_names, bool)
            assert not migrations.surprises(defined), "a table of numbers"
            same = defined, defined
            assert migrations.adapted([], same, METADATA) == []
            assert not migrations.operations_for({}, [], same, METADATA), "nothing differs"
            assert _of_ours(await asyncio.to_thread(replay, db)) == _of_ours(defined)

        self._run(database, check)

    def test_a_view_of_what_is_gone_is_broken_unless_the_engine_refuses(
        self, database: Database
    ) -> None:
        migrations = part(database.cluster.backend.migrations, "migrations")
        with migrations.scratch(database.cluster.primary.url) as connection:
            METADATA.create_all(connection)
            connection.execute(text(f"CREATE VIEW seen AS SELECT * FROM {ROWS.name}"))
            connection.commit()
            assert not migrations.broken(connection)
            connection.commit()
            try:
                ROWS.drop(connection)
            except DBAPIError:
                return
            connection.commit()
            [said] = migrations.broken(connection)
            assert said.startswith("view seen (")
            assert said.endswith(")")

    def test_a_database_begins_anew(self, database: Database) -> None:
        migrations = part(database.cluster.backend.migrations, "migrations")

        async def made() -> None:
            async with database as db, db.connect() as connection:
                await connection.run_sync(METADATA.create_all)
                await connection.commit()

        async def is_there() -> bool:
            async with database as db, db.connect() as connection:
                return await connection.run_sync(lambda c: inspect(c).has_table(ROWS.name))

        asyncio.run(made())
        assert asyncio.run(is_there())
        with migrations.begin_anew(database.cluster.primary.url, lambda _: False) as (_, point):
            assert point is None
        assert not asyncio.run(is_there())

    def test_a_restore_point_is_made_where_there_is_data(self, database: Database) -> None:
        migrations = part(database.cluster.backend.migrations, "migrations")

        def before(connection: Connection) -> tuple[str | None, str | None]:
            with connection.begin():
                tables = frozenset(inspect(connection).get_table_names())
            empty = migrations.restore_point(connection, "conformance", tables)
            with connection.begin():
                connection.execute(insert(ROWS).values(id=1))
            return empty, migrations.restore_point(connection, "conformance", tables - {ROWS.name})

        async def check(db: Database) -> None:
            empty, with_data = await _migrating(db, before)
            assert empty is None
            assert with_data

        self._run(database, check)

    def test_ddl_is_as_the_backend_says(self, database: Database) -> None:
        migrations = part(database.cluster.backend.migrations, "migrations")
        add = text(f"ALTER TABLE {ROWS.name} ADD COLUMN at TIMESTAMP DEFAULT CURRENT_TIMESTAMP")

        async def check(db: Database) -> None:
            async with db.connect() as connection:
                await connection.execute(insert(ROWS).values(id=1))
                if migrations.new_columns_need_constants:
                    with pytest.raises(DBAPIError):
                        await connection.execute(add)
                else:
                    await connection.execute(add)
            assert isinstance(migrations.all_ddl_is_transactional, bool)
            found = migrations.lint("SELECT 1;")
            assert not found, "nothing to find"
            assert migrations.has_linter or found == ()

        self._run(database, check)

    def test_strings_and_quoted_names_are_no_words(self, database: Database) -> None:
        migrations = part(database.cluster.backend.migrations, "migrations")
        url = database.cluster.primary.url
        dialect = url.get_dialect()()
        name, string = dialect.identifier_preparer.quote("a;b"), "'it''s; DROP TABLE users'"
        tokens = migrations.lexer(f"SELECT {string} /* ; */ AS {name}")
        assert [token.kind for token in tokens] == ["word", "string", "word", "name"]
        assert [token.word for token in tokens] == ["SELECT", "", "AS", ""]
        assert tokens[-1].identifier == "a;b"

    def test_rows_that_stop_it_half_way_are_found_where_ddl_commits(
        self, database: Database
    ) -> None:
        migrations = part(database.cluster.backend.migrations, "migrations")
        alter = f"ALTER TABLE {ROWS.name}"
        pending = [f"{alter} ADD COLUMN more INTEGER", f"{alter} ADD CHECK (id <> 1)"]

        def look(connection: Connection) -> None:
            connection.execute(insert(ROWS).values(id=1))
            connection.commit()
            found = migrations.rows_ahead(connection, pending)
            assert (found is None) == (migrations.journal is None)
            assert migrations.rows_ahead(connection, pending[1:]) is None, "nothing stays of it"

        async def check(db: Database) -> None:
            await _migrating(db, look)

        self._run(database, check)

    def test_the_engine_says_what_the_change_of_a_table_costs(self, database: Database) -> None:
        migrations = part(database.cluster.backend.migrations, "migrations")
        costs = part(migrations.costs, "costs")
        with migrations.scratch(database.cluster.primary.url) as connection:
            METADATA.create_all(connection)
            with costs(connection) as found:
                connection.execute(text(f"ALTER TABLE {ROWS.name} ADD COLUMN more INTEGER"))
                connection.execute(text(f"ALTER TABLE {ROWS.name} MODIFY COLUMN more CHAR(7)"))
            added, changed = found
            assert added.table == changed.table == ROWS.name
            assert added.words != changed.words
            assert len(inspect(connection).get_columns(ROWS.name)) == 2

    def test_operations_read_tables_if_the_backend_scripts_a_replay(
        self, database: Database
    ) -> None:
        migrations = part(database.cluster.backend.migrations, "migrations")
        migrations.prepare_alembic()
        script = MigrationContext.configure(
            dialect_name=database.cluster.primary.url.get_backend_name(),
            opts={"as_sql": True, "output_buffer": StringIO()},
        )
        operations = Operations(script)
        refused: AbstractContextManager[Any] = (
            nullcontext() if migrations.script is None else pytest.raises(CommandError)
        )
        with refused, operations.batch_alter_table(ROWS.name) as batch:
            batch.alter_column("id", type_=BigInteger(), **_AS_IT_IS)

    def test_a_replay_is_taken_down_as_a_script(self, database: Database) -> None:
        migrations = part(database.cluster.backend.migrations, "migrations")
        script = part(migrations.script, "migrations.script")
        with migrations.scratch(database.cluster.primary.url) as connection:
            with script(connection, frozenset({"ours"})) as written:
                for table in ("ours", "theirs"):
                    connection.execute(text(f"CREATE TABLE {table} (id INTEGER)"))
                connection.execute(text("INSERT INTO theirs VALUES (:id)"), {"id": 7})
            said = written().text
            assert all(word in said for word in ("theirs", "7"))
            assert "ours" not in said
            connection.commit()
            with pytest.raises(NotAScript), script(connection, frozenset()) as written:
                connection.execute(text("SELECT * FROM theirs"))

    def test_a_table_that_alembic_alters_keeps_its_rows(self, database: Database) -> None:
        migrations = part(database.cluster.backend.migrations, "migrations")

        def migrate(connection: Connection) -> None:
            migrations.prepare_alembic()
            with migrations.migrating(connection, 60), connection.begin():
                connection.execute(insert(ROWS).values(id=1))
                operations = Operations(MigrationContext.configure(connection))
                with operations.batch_alter_table(ROWS.name) as batch:
                    batch.alter_column("id", new_column_name="number", **_AS_IT_IS)
                with operations.batch_alter_table(ROWS.name) as batch:
                    batch.alter_column("number", new_column_name="id", **_AS_IT_IS)

        async def check(db: Database) -> None:
            await _migrating(db, migrate)
            assert await rows(db.cluster.primary) == [1]

        self._run(database, check)


async def _migrating(db: Database, work: Callable[[Connection], _T]) -> _T:
    """Do something on a connection as migrations have it, outside of the event loop."""
    migrations = part(db.cluster.backend.migrations, "migrations")
    url = db.cluster.primary.url
    return await asyncio.to_thread(on_a_connection, migrations.engine(url), work, url=url)


def _of_ours(definitions: Mapping[Thing, str]) -> Mapping[Thing, str]:
    return {thing: said for thing, said in definitions.items() if thing.table == ROWS.name}
