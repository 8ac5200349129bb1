"""An application to migrate."""

import io
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pymysql
import pytest
from alembic.config import CommandLine, Config
from alembic.util import CommandError
from click.testing import CliRunner, Result
from sqlalchemy import make_url

from orm.cli import main
from orm.migrations import target_url

ENGINES = pytest.mark.parametrize("project", ["sqlite", "postgresql"], indirect=True)
"""The project's database is one of each engine."""
POSTGRESQL = pytest.mark.parametrize("project", ["postgresql", "asyncpg"], indirect=True)
"""It is one of PostgreSQL, migrated through each of its drivers."""
MYSQL = pytest.mark.parametrize("project", ["mariadb", "mysql"], indirect=True)
"""It is one of an engine whose DDL commits."""
COMMAND_LINES = pytest.mark.parametrize("command_line", ["orm", "alembic"])


@dataclass
class Project:
    """An application of its own in a folder of its own, migrated by the real Alembic."""

    folder: Path
    attributes: dict[str, Any]
    shown: list[str] = field(default_factory=list)
    """The revisions whose SQL a test has looked at; what it says is tried out after the test."""

    trigger: ClassVar = (
        "CREATE TRIGGER tr AFTER INSERT ON users BEGIN UPDATE users SET age = 1; END",
    )
    """SQL that makes a trigger of a table of users."""
    indexes: ClassVar = "SELECT name FROM sqlite_master WHERE name LIKE 'ix_%'"
    """A query for the names of indexes."""

    def alembic(self, *arguments: str) -> str:
        """Run an Alembic command as its command line would; what it printed."""
        line = CommandLine()
        options = line.parser.parse_args(["--raiseerr", *arguments])
        out = io.StringIO()
        config = Config(
            toml_file=self.folder / "pyproject.toml",
            cmd_opts=options,
            stdout=out,
            output_buffer=out,
            attributes=self.attributes,
        )
        line.run_cmd(config, options)
        return out.getvalue()

    def models(self, code: str) -> None:
        """Make `code` the models; it finds all of SQLAlchemy, and a `metadata` to add tables to."""
        (self.folder / "alembic" / "env.py").write_text(
            "from sqlalchemy import *\nfrom orm import migrations\nfrom orm.model import Base\n"
            "metadata = MetaData(\n    naming_convention=Base.metadata.naming_convention,\n"
            "    info=Base.metadata.info.copy(),\n)\n"
            f"{code}\nmigrations.run(metadata)\n"
        )

    def revision(self, number: int, *lines: str) -> None:
        """Write a revision by hand; its lines find `op` and `sa`."""
        body = "\n    ".join(lines)
        follows = f'"{number - 1:04d}"' if number > 1 else "None"
        (self.folder / "alembic" / "versions" / f"{number:04d}_by_hand.py").write_text(
            "import sqlalchemy as sa\nfrom alembic import op\n\n"
            f'revision = "{number:04d}"\ndown_revision = {follows}\n\n\n'
            f"def upgrade():\n    {body}\n"
        )

    @property
    def revisions(self) -> list[str]:
        """The names of the revision files."""
        return sorted(file.name for file in (self.folder / "alembic" / "versions").glob("*.py"))

    @property
    def database(self) -> Path:
        return self.folder / "app.db"

    def query(self, sql: str, *parameters: Any) -> list[Any]:
        """Ask, or change, the database past the library."""
        with closing(sqlite3.connect(self.database)) as connection, connection:
            return connection.execute(sql, parameters).fetchall()

    @property
    def url(self) -> str:
        """The local database, as its target names it."""
        return f"sqlite+aiosqlite:///{self.database}"

    @property
    def is_untouched(self) -> bool:
        """Whether the database was never written to."""
        return not self.database.exists()

    @property
    def contents(self) -> Any:
        """All that is in the database, to be compared."""
        return self.database.read_bytes()

    def run_script(self, script: str) -> None:
        """Have the engine itself run a script."""
        with closing(sqlite3.connect(self.database)) as connection:
            connection.executescript(script)

    def clear(self) -> None:
        """Have the database as it was before its first write."""
        self.database.unlink()

    @property
    def tables(self) -> set[str]:
        rows = self.query("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {name for (name,) in rows if not name.startswith("sqlite_")}

    @property
    def applied(self) -> list[str]:
        return [number for (number,) in self.query("SELECT version_num FROM alembic_version")]

    @property
    def ledger(self) -> list[str]:
        """The revisions in the ledger."""
        if "orm_revisions" not in self.tables:
            return []
        return [number for (number,) in self.query("SELECT revision FROM orm_revisions ORDER BY 1")]

    def file(self, name: str) -> Path:
        """A revision file."""
        return self.folder / "alembic" / "versions" / name

    def orm(self, *arguments: str, input: str | None = None) -> Result:  # noqa: A002 -- as click
        """Run `orm migrations …` as its command line would."""
        done = CliRunner().invoke(main, ["migrations", *arguments], input=input, prog_name="orm")
        if arguments[0] == "show" and done.exit_code == 0:
            self.shown.append(arguments[1])
        return done

    def refusal(self, command_line: str) -> str:
        """What an upgrade of the local database is refused with.

        Args:
            command_line: ``"orm"`` or ``"alembic"``.
        """
        if command_line == "alembic":
            with pytest.raises(CommandError) as caught:
                self.alembic("upgrade", "head")
            return str(caught.value)
        result = self.orm("apply", "--local")
        assert isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == 1
        assert result.stderr.startswith("Error: ")
        return result.stderr

    def upgrade(self, command_line: str) -> None:
        """Apply everything to the local database.

        Args:
            command_line: ``"orm"`` or ``"alembic"``.
        """
        if command_line == "alembic":
            self.alembic("upgrade", "head")
        else:
            result = self.orm("apply", "--local")
            assert result.exit_code == 0, (result.output, result.exception)


class PostgreSQLProject(Project):
    """One whose local database is on a server."""

    trigger = (
        "CREATE FUNCTION one() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.age = 1; RETURN NEW; END $$",
        "CREATE TRIGGER tr BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION one()",
    )
    indexes = "SELECT indexname FROM pg_indexes WHERE starts_with(indexname, 'ix_')"

    @property
    def url(self) -> str:
        return target_url("local", self.folder / "pyproject.toml").render_as_string(False)

    def query(self, sql: str, *parameters: Any) -> list[Any]:
        url = make_url(self.url).set(drivername="postgresql", query={})
        with psycopg.connect(url.render_as_string(False)) as connection:
            cursor = connection.execute(sql.replace("?", "%s"), parameters or None)
            return [] if cursor.description is None else cursor.fetchall()

    @property
    def tables(self) -> set[str]:
        rows = self.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {name for (name,) in rows}

    @property
    def is_untouched(self) -> bool:
        return self.tables == set()

    @property
    def contents(self) -> Any:
        rows = {name: self.query(f'SELECT * FROM "{name}" ORDER BY 1') for name in self.tables}
        return rows, self.query("SELECT relname, relfilenode FROM pg_class ORDER BY oid")

    def run_script(self, script: str) -> None:
        url = make_url(self.url).set(drivername="postgresql", query={})
        # Its statements one by one, as psql does: what commits cannot be in a list of them.
        with psycopg.connect(url.render_as_string(False), autocommit=True) as connection:
            for statement in script.split(";"):
                connection.execute(statement)

    def clear(self) -> None:
        self.query("DROP SCHEMA public CASCADE")
        self.query("CREATE SCHEMA public")


class MySQLProject(Project):
    """One whose local database is on a server of MariaDB or MySQL."""

    trigger = ("CREATE TRIGGER tr BEFORE INSERT ON users FOR EACH ROW SET NEW.age = 1",)
    indexes = (
        "SELECT index_name FROM information_schema.statistics"
        " WHERE table_schema = DATABASE() AND index_name LIKE 'ix%'"
    )

    @property
    def url(self) -> str:
        return target_url("local", self.folder / "pyproject.toml").render_as_string(False)

    def query(self, sql: str, *parameters: Any) -> list[Any]:
        url = make_url(self.url)
        with closing(
            pymysql.connect(
                host=url.host, port=url.port or 3306, user=url.username, database=url.database
            )
        ) as connection:
            with connection.cursor() as cursor:
                cursor.execute(sql.replace("?", "%s"), parameters or None)
                rows = list(cursor.fetchall())
            connection.commit()
            return rows

    @property
    def tables(self) -> set[str]:
        return {name for (name,) in self.query("SHOW TABLES")} - {"orm_history", "orm_journal"}

    @property
    def is_untouched(self) -> bool:
        return self.tables == set()

    def columns(self, table: str) -> list[str]:
        """The names of a table's columns, in their order."""
        return [row[0] for row in self.query(f"SHOW COLUMNS FROM {table}")]
