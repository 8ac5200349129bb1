"""What only PostgreSQL has: indexes without a lock, locks that time out, accounts that may not."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from orm import Database
from orm.testing.postgresql import Cluster
from tests.migrations.support import COMMAND_LINES, POSTGRESQL, Project
from tests.migrations.test_at_once import begin

pytestmark = POSTGRESQL

USERS = (
    "op.execute('CREATE TABLE users (id integer PRIMARY KEY, email text)')",
    "op.execute(\"INSERT INTO users SELECT n, 'same' FROM generate_series(1, 1000) n\")",
)
CONCURRENTLY = (
    "with op.get_context().autocommit_block():",
    "    op.create_index('ix', 'users', ['email'], {}postgresql_concurrently=True)",
)
LOCK = "SELECT pg_advisory_lock(x'6f726d'::int, x'6d696772'::int)"
UNLOCK = LOCK.replace("_lock", "_unlock")
ALTER = "op.add_column('users', sa.Column('age', sa.Integer))"


def concurrently(options: str = "") -> list[str]:
    return [line.format(options) for line in CONCURRENTLY]


@contextmanager
def connected(project: Project, **options: Any) -> Iterator[psycopg.Connection]:
    url = make_url(project.url).set(drivername="postgresql", query={})
    with psycopg.connect(url.render_as_string(False), **options) as connection:
        yield connection


@pytest.fixture
def users(project: Project) -> Project:
    """Revision 0001 is applied: a thousand users with the same address."""
    project.revision(1, *USERS)
    project.upgrade("orm")
    return project


def begin_and_wait(project: Project, command_line: str) -> subprocess.Popen[str]:
    """Start a run while another session has the lock; return when it has asked for that."""
    asks = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_start > %s AND query ~ 'advisory_lock|^COMMIT'"
    )
    with connected(project, autocommit=True) as observer:
        # Connections that were closed before are there for a moment, and are not meant.
        began = observer.execute("SELECT clock_timestamp()").fetchone()
        process = begin(project, command_line)
        while not observer.execute(asks, began).fetchone():
            assert process.poll() is None
            time.sleep(0.01)
    return process


@COMMAND_LINES
def test_who_comes_second_waits(users: Project, command_line: str) -> None:
    users.revision(2, ALTER)
    with connected(users) as other:
        other.execute(LOCK)
        other.commit()
        process = begin_and_wait(users, command_line)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        assert users.ledger == ["0001"]
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert users.ledger == ["0001", "0002"]


# Indexes without a lock --------------------------------------------------------------------


@COMMAND_LINES
def test_an_index_is_made_while_another_run_waits(users: Project, command_line: str) -> None:
    """Who waited in pg_advisory_lock() would be waited for by the index, and that is a deadlock."""
    reached, go_on = users.folder / "reached", users.folder / "go on"
    os.mkfifo(reached)
    os.mkfifo(go_on)
    users.revision(
        2, f"open({str(reached)!r}, 'w').close()", f"open({str(go_on)!r}).close()", *concurrently()
    )  # fmt: skip
    first = begin(users, command_line)
    reached.read_bytes()
    second = begin_and_wait(users, command_line)
    go_on.write_text("")
    said = [process.communicate()[0] for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0], said
    assert users.ledger == ["0001", "0002"]
    assert users.query("SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix'::regclass") == [
        (True,)
    ]


@COMMAND_LINES
def test_an_invalid_index_is_not_taken_for_one(users: Project, command_line: str) -> None:
    users.revision(2, *concurrently("unique=True, if_not_exists=True, "))
    refusal = users.refusal(command_line)
    assert "what it did up to its last autocommit_block may stay" in refusal
    assert "could not create unique index" in refusal
    assert "INVALID, kept up to date and never used: ix of users" in refusal
    assert "Before you apply again, drop it on the database (DROP INDEX CONCURRENTLY ix)" in refusal
    assert users.ledger == ["0001"]

    users.query("UPDATE users SET email = id::text")
    refusal = users.refusal(command_line)
    assert "INVALID, kept up to date and never used: ix of users" in refusal
    assert "DROP INDEX CONCURRENTLY ix" in refusal
    assert users.ledger == ["0001"]

    users.query("DROP INDEX ix")
    users.upgrade(command_line)
    assert users.ledger == ["0001", "0002"]


def test_a_revision_may_clear_away_what_was_left(
    users: Project, caplog: pytest.LogCaptureFixture
) -> None:
    users.revision(2, *concurrently("unique=True, "))
    users.refusal("orm")
    refusal = users.refusal("orm")
    assert "already exists" in refusal
    drop = 'op.drop_index("ix", "users", if_exists=True, postgresql_concurrently=True)'
    assert refusal.splitlines()[1].endswith(drop)
    users.revision(2, "pass")
    said = users.orm("check", "--local").stderr
    assert "the database has index ix of users, and no applied revision makes it: CREATE" in said
    assert "(INVALID)" in said
    users.query("UPDATE users SET email = id::text")
    head, create = concurrently("unique=True, ")
    users.revision(2, head, f"    {drop}", create)
    users.upgrade("orm")
    assert users.ledger == ["0001", "0002"]
    assert "ix of users is INVALID, which DROP INDEX CONCURRENTLY ix takes away" in caplog.text


def test_another_error_does_not_speak_of_indexes(users: Project) -> None:
    users.revision(2, *concurrently("unique=True, "))
    users.refusal("orm")
    users.revision(2, "op.execute('DELETE FROM nothing')")
    assert "DROP INDEX" not in users.refusal("orm")


def test_an_index_that_another_session_is_making_is_none_yet(users: Project) -> None:
    users.revision(2, "op.execute('CREATE TABLE other (id integer)')")
    invalid = "SELECT FROM pg_index WHERE indrelid = 'users'::regclass AND NOT indisvalid"

    def make() -> None:
        with connected(users, autocommit=True) as maker:
            maker.execute("CREATE INDEX CONCURRENTLY ix ON users (email)")

    with ThreadPoolExecutor(1) as executor:
        with connected(users) as report:  # which the index has to wait for
            report.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            report.execute("SELECT 1")
            making = executor.submit(make)
            while not users.query(invalid):
                assert not making.done()
            users.upgrade("orm")
            assert not making.done()
        making.result()
    assert users.ledger == ["0001", "0002"]


# Locks that time out -----------------------------------------------------------------------

# Who is waited for is looked at during the wait, so it has to outlast a pause of the machine.


@COMMAND_LINES
def test_who_blocks_is_named(users: Project, command_line: str) -> None:
    users.revision(2, "op.execute('CREATE TABLE before (id integer)')", ALTER)
    [(name,)] = users.query("SELECT current_database()")
    users.query(f"ALTER DATABASE {name} SET lock_timeout = '3s'")
    users.query(f"ALTER DATABASE {name} SET statement_timeout = '4500ms'")  # less than our own 5 s
    with connected(users, application_name="a report") as report, connected(users) as bystander:
        report.execute("SELECT count(*) FROM users")
        bystander.execute("SELECT count(*) FROM pg_class")  # locks, and nothing that is waited for
        refusal = users.refusal(command_line)
    assert "0002_by_hand.py failed in line 10, nothing of it stays" in refusal
    assert "canceling statement due to lock timeout" in refusal
    assert "The statement: ALTER TABLE users ADD COLUMN age INTEGER" in refusal
    [blocker] = [line for line in refusal.splitlines() if line.startswith("It waited for process")]
    assert "of postgres (a report), in a transaction for 00:0" in blocker
    assert blocker.count("process") == 1
    assert "idle in transaction: SELECT count(*) FROM users" in refusal
    assert users.ledger == ["0001"]
    assert "before" not in users.tables
    users.upgrade(command_line)
    assert users.ledger == ["0001", "0002"]


def test_whom_an_index_waits_for_is_named(users: Project) -> None:
    """It waits for snapshots that are older than itself, whatever they look at."""
    users.query("CREATE TABLE other (id integer)")
    users.revision(2, "op.execute(\"SET lock_timeout = '3s'\")", *concurrently())
    with connected(users, application_name="a report") as report:
        report.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        report.execute("SELECT count(*) FROM other")
        refusal = users.refusal("orm")
    assert "It waited for process" in refusal
    assert "(a report), in a transaction" in refusal
    assert users.ledger == ["0001"]


def test_only_who_is_in_the_way_is_named(users: Project) -> None:
    users.revision(2, "op.execute(\"SET LOCAL lock_timeout = '3s'\")",
        "op.create_index('ix', 'users', ['email'])",
    )  # fmt: skip
    with connected(users, application_name="a reader") as reader:
        reader.execute("SELECT count(*) FROM users")  # an index leaves readers alone
        with connected(users, application_name="a writer") as writer:
            writer.execute("UPDATE users SET email = 'other'")
            refusal = users.refusal("orm")
        assert "It waited for process" in refusal
        assert "(a writer)" in refusal
        assert "(a reader)" not in refusal


def test_no_holder_is_named_if_no_lock_was_waited_for(users: Project) -> None:
    users.revision(2, "op.execute('LOCK TABLE users NOWAIT')")
    with connected(users, application_name="a report") as report:
        report.execute("SELECT count(*) FROM users")
        refusal = users.refusal("orm")
    assert "could not obtain lock" in refusal
    assert "It waited" not in refusal
    assert "a report" not in refusal


@COMMAND_LINES
def test_without_another_wish_it_is_five_seconds(project: Project, command_line: str) -> None:
    setting = "current_setting('lock_timeout')"
    project.revision(1, f'op.execute("CREATE TABLE t AS SELECT {setting} AS a")')
    project.revision(
        2, "op.execute(\"SET LOCAL lock_timeout = '1min'\")",
        f'op.execute("ALTER TABLE t ADD b text DEFAULT {setting}")',
    )  # fmt: skip
    project.revision(3, f'op.execute("ALTER TABLE t ADD c text DEFAULT {setting}")')
    project.upgrade(command_line)
    assert project.query("SELECT a, b, c FROM t") == [("5s", "1min", "5s")]


# Connections that are handed in ------------------------------------------------------------


async def handed_in(project: Project, **options: Any) -> list[str]:
    """Migrate on a connection; what it is set to afterwards."""
    engine = create_async_engine(project.url, **options)

    def migrate(connection: Connection) -> list[str]:
        project.attributes["connection"] = connection
        try:
            project.alembic("upgrade", "head")
        finally:
            names = ("lock_timeout", "application_name", "tcp_keepalives_idle")
            found = [str(connection.scalar(text(f"SHOW {name}"))) for name in names]
            locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = :pid"
            pid = connection.scalar(text("SELECT pg_backend_pid()"))
            assert connection.scalar(text(locks), {"pid": pid}) == 0
        return found

    try:
        async with engine.connect() as connection:
            return await connection.run_sync(migrate)
    finally:
        await engine.dispose()


@pytest.mark.parametrize("options", [{}, {"isolation_level": "AUTOCOMMIT"}])
async def test_a_connection_is_as_it_was(project: Project, options: dict[str, Any]) -> None:
    [before] = project.query("SELECT current_setting('tcp_keepalives_idle')")
    project.revision(1, "op.execute('CREATE TABLE t (id integer)')")
    assert await handed_in(project, **options) == ["0", "", *before]
    assert project.ledger == ["0001"]
    project.revision(2, "op.execute('CREATE TABLE half (id integer)')", "op.execute('?')")
    with pytest.raises(CommandError, match="nothing of it stays"):
        await handed_in(project, **options)
    assert "half" not in project.tables


async def test_the_librarys_own_connection(project: Project) -> None:
    project.revision(1, "op.execute('CREATE TABLE t (id integer)')")

    def migrate(connection: Connection) -> None:
        project.attributes["connection"] = connection
        project.alembic("upgrade", "head")

    async with Database(project.url) as db, db.cluster.writer.connect() as connection:
        await connection.run_sync(migrate)
    assert project.ledger == ["0001"]


def test_in_a_transaction_a_run_does_not_wait(project: Project) -> None:
    project.revision(1, "op.execute('CREATE TABLE t (id integer)')")
    engine = create_engine(make_url(project.url).set(drivername="postgresql+psycopg", query={}))
    with connected(project, application_name="another run") as other:
        other.execute(LOCK)
        with engine.begin() as connection:
            connection.execute(text("SELECT 1"))
            project.attributes["connection"] = connection
            with pytest.raises(CommandError, match=r"\(another run\) is migrating this database"):
                project.alembic("upgrade", "head")
        other.execute(UNLOCK)  # the server would do it a moment after the connection is closed
    with engine.begin() as connection:
        connection.execute(text("SELECT 1"))
        project.attributes["connection"] = connection
        project.alembic("upgrade", "head")
        assert project.tables == set(), "it is not committed yet"
    engine.dispose()
    assert project.ledger == ["0001"]


@COMMAND_LINES
@pytest.mark.parametrize("statement", ["SELECT pg_advisory_unlock_all()", "DISCARD ALL"])
def test_a_lock_that_is_gone_is_noticed(users: Project, statement: str, command_line: str) -> None:
    lines = [f"op.execute('{statement}')"]
    if statement == "DISCARD ALL":
        lines = ["with op.get_context().autocommit_block():", f"    {lines[0]}"]
    users.revision(2, *lines, ALTER)
    assert "the lock that keeps others from migrating is gone" in users.refusal(command_line)
    assert users.ledger == ["0001"]


# What COMMIT finds -------------------------------------------------------------------------


@COMMAND_LINES
def test_a_deferred_foreign_key(users: Project, command_line: str) -> None:
    users.query(
        "CREATE TABLE posts (id integer,"
        " user_id integer REFERENCES users DEFERRABLE INITIALLY DEFERRED)"
    )
    users.query("INSERT INTO posts VALUES (1, 7)")
    users.revision(2, ALTER, "op.execute('DELETE FROM users WHERE id = 7')")
    refusal = users.refusal(command_line)
    assert "0002_by_hand.py failed, nothing of it stays" in refusal
    assert 'Key (id)=(7) is still referenced from table "posts"' in refusal
    assert users.query("SELECT count(*) FROM users") == [(1000,)]
    assert users.ledger == ["0001"]


# Going back --------------------------------------------------------------------------------


def test_where_the_log_is_before_it_is_printed(users: Project) -> None:
    users.revision(2, ALTER)
    said = users.orm("apply", "--local")
    assert "recovery_target_lsn = '" in said.output
    assert said.exit_code == 0


def test_an_empty_database_has_nothing_to_go_back_to(project: Project) -> None:
    project.revision(1, *USERS)
    assert "recovery_target_lsn" not in project.orm("apply", "--local").output


# Scratch databases -------------------------------------------------------------------------


def scratches(project: Project) -> set[str]:
    rows = project.query("SELECT datname FROM pg_database WHERE starts_with(datname, 'orm_')")
    return {name for (name,) in rows}


def test_none_is_left(users: Project) -> None:
    assert scratches(users) == set()
    users.revision(2, "op.execute('?')")
    assert users.orm("check", "--local").exit_code == 1
    assert scratches(users) == set()


def test_those_of_killed_processes_are_cleared_away(users: Project) -> None:
    hour_ago, token = int(time.time()) - 3700, secrets.token_hex(6)
    old, new = (f"orm_scratch_{at:x}_{token}" for at in (hour_ago, hour_ago + 3600))
    with connected(users, autocommit=True) as server:
        for name in (old, new):
            server.execute(f"CREATE DATABASE {name}")
        try:
            users.orm("check", "--local")
            assert scratches(users) == {new}, "a run may be about to connect to a new one"
        finally:
            for name in (old, new):
                server.execute(f"DROP DATABASE IF EXISTS {name}")


def test_a_revision_that_needs_the_own_server(users: Project) -> None:
    """A role that only this has, which no scratch server knows."""
    name = f"reader_{secrets.token_hex(6)}"
    users.query(f"CREATE ROLE {name}")
    try:
        users.revision(2, f"op.execute('GRANT SELECT ON users TO {name}')")
        assert "cannot be replayed" not in users.orm("check").stderr
    finally:
        users.query(f"DROP OWNED BY {name}")
        users.query(f"DROP ROLE {name}")


def test_models_that_need_the_own_server(project: Project) -> None:
    name = f"reader_{secrets.token_hex(6)}"
    project.query(f"CREATE ROLE {name}")
    project.models(
        'notes = Table("notes", metadata, Column("id", Integer, primary_key=True))\n'
        "from sqlalchemy import DDL, event\n"
        f'event.listen(notes, "after_create", DDL("GRANT SELECT ON notes TO {name}"))'
    )
    try:
        for command in (("create", "notes"), ("apply", "--local"), ("check",)):
            result = project.orm(*command)
            assert result.exit_code == 0, result.output
    finally:
        project.query(f"DROP OWNED BY {name}")
        project.query(f"DROP ROLE {name}")


@pytest.fixture
def account(users: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """The remote database is the local one, as an account that owns its tables and no more."""
    name = f"account_{secrets.token_hex(6)}"
    users.query(f"CREATE ROLE {name} LOGIN")
    users.query(f"GRANT ALL ON SCHEMA public TO {name}")
    for table in users.tables:
        users.query(f"ALTER TABLE {table} OWNER TO {name}")
    url = make_url(users.url).set(username=name)
    monkeypatch.setenv("ORM_REMOTE_URL", url.render_as_string(False))
    yield users
    users.query(f"DROP OWNED BY {name}")
    users.query(f"DROP ROLE {name}")


def test_an_account_that_may_not_create_databases(
    account: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.revision(2, ALTER)
    assert "may not" not in account.orm("check", "--remote").stderr
    monkeypatch.setenv("ORM_POSTGRESQL_SCRATCH", "server")
    said = account.orm("check", "--remote")
    assert said.exit_code == 1
    assert "may not create the scratch database" in said.stderr
    assert "CREATEDB" in said.stderr
    said = account.orm("apply", "--remote", "--yes")
    assert said.exit_code == 0, said.output
    assert account.ledger == ["0001", "0002"]


def test_who_blocks_is_named_as_far_as_the_account_may_know(account: Project) -> None:
    account.revision(2, ALTER)
    [(name,)] = account.query("SELECT current_database()")
    account.query(f"ALTER DATABASE {name} SET lock_timeout = '3s'")
    with connected(account, application_name="a report") as report:
        report.execute("SELECT count(*) FROM users")
        said = account.orm("apply", "--remote", "--yes").stderr
    assert "of postgres (a report)\n" in said
    account.revision(2, *concurrently())
    with connected(account, application_name="a report") as report:
        report.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        report.execute("SELECT 1")
        said = account.orm("apply", "--remote", "--yes").stderr
    assert "of postgres (a report)\n" in said


def test_a_review_is_of_the_engine_of_the_target(
    users: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORM_REMOTE_URL", users.url)
    settings = users.folder / "pyproject.toml"
    settings.write_text(settings.read_text().partition("[tool.orm]")[0])
    users.revision(
        2,
        "if op.get_context().dialect.name == 'postgresql':",
        "    op.drop_column('users', 'email')",
    )
    said = users.orm("apply", "--remote", "--yes")
    assert said.exit_code == 1
    assert "drops users.email and all its values (1,000 rows)" in said.stderr


def test_models_that_only_postgresql_can_have(project: Project) -> None:
    project.models(
        "from sqlalchemy.dialects.postgresql import ARRAY, JSONB\n"
        'Table("t", metadata, Column("id", Integer, primary_key=True),'
        ' Column("a", JSONB), Column("b", ARRAY(Integer), server_default="{}"),'
        ' Column("c", Enum("x", "y", name="letter")))'
    )
    said = project.orm("create", "start")
    assert said.exit_code == 0, said.output
    project.upgrade("orm")
    said = project.orm("check", "--local")
    assert (said.exit_code, said.output) == (0, "All is well.\n")
    assert project.alembic("check") == "No new upgrade operations detected.\n"
    assert project.orm("create", "more").stdout.startswith("The revisions make what")


def test_a_linter_looks_at_what_is_pending(project: Project) -> None:
    users = 'Table("users", metadata, Column("id", Integer, primary_key=True), Column("e", Text{}))'
    project.models(users.format(""))
    assert project.orm("create", "start").exit_code == 0
    project.upgrade("orm")
    assert project.orm("check", "--local").stderr == ""
    project.models(users.format(", index=True"))
    assert project.orm("create", "more").exit_code == 0
    said = project.orm("check", "--local")
    assert said.exit_code == 0, said.output
    assert said.stderr.startswith("Note: 0002_more: ")
    assert "(require-concurrent-index-creation)" in said.stderr


# Servers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["list", "apply", "check"])
def test_a_server_that_is_not_there(project: Project, command: str) -> None:
    project.revision(1, *USERS)
    settings = project.folder / "pyproject.toml"
    kept = settings.read_text()
    port = make_url(project.url).port
    settings.write_text(kept.replace(f":{port}/", ":1/"))
    said = project.orm(command, "--local")
    settings.write_text(kept)
    assert said.exit_code == 1
    assert isinstance(said.exception, SystemExit)
    assert said.stderr.startswith("Error: ")
    assert "refused" in said.stderr or "Connect call failed" in said.stderr


def test_the_password_is_not_printed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.revision(1, *USERS)
    url = make_url(project.url).set(password="secret")
    monkeypatch.setenv("ORM_REMOTE_URL", url.render_as_string(False))
    for command in (["list"], ["apply", "--dry-run"], ["apply", "--yes"], ["check"]):
        said = project.orm(*command, "--remote")
        assert "secret" not in said.output, command
    assert project.ledger == ["0001"]


@COMMAND_LINES
def test_a_standby_is_refused(project: Project, shared_cluster: Cluster, command_line: str) -> None:
    project.revision(1, *USERS)
    settings = project.folder / "pyproject.toml"
    kept = settings.read_text()
    settings.write_text(
        kept.partition("[tool.orm]")[0]
        + f'[tool.orm]\nlocal = "{shared_cluster.standbys[0].url()}"\n'
    )
    assert "this server is a standby" in project.refusal(command_line)
    settings.write_text(kept)
    assert project.is_untouched


def test_asyncpg_alone_will_do_to_migrate(project: Project) -> None:
    url = make_url(project.url).set(drivername="postgresql+asyncpg", query={})
    settings = project.folder / "pyproject.toml"
    settings.write_text(
        settings.read_text().partition("[tool.orm]")[0]
        + f'[tool.orm]\nlocal = "{url.render_as_string(False)}"\n'
    )
    project.revision(1, *USERS)

    def orm(*arguments: str) -> subprocess.CompletedProcess[str]:
        without = "import sys; sys.modules['psycopg'] = None; from orm.cli import main; main()"
        command = [sys.executable, "-c", without, "migrations", *arguments, "--local"]
        return subprocess.run(
            command, cwd=project.folder, capture_output=True, text=True, check=False
        )

    said = orm("apply")
    assert (said.returncode, said.stdout) == (0, "applied 0001_by_hand\n"), said.stderr
    assert orm("list").returncode == 0
    assert project.ledger == ["0001"]
    assert "through psycopg, which is not installed" in orm("check").stderr
