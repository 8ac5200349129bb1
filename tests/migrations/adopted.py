"""A project as many are: years of stock Alembic, with hash ids, branches and downgrades.

Thirty models, twenty-six revisions, two of which merge branches, an ``env.py`` as ``alembic init``
writes it. The models have a CHECK that the revisions never made: autogenerate did not see it.
"""

import hashlib
import io
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import alembic
from alembic.config import CommandLine, Config
from click.testing import CliRunner
from sqlalchemy import create_engine

from orm.cli import main

__all__ = ["StockProject"]

_ENV = """\
from logging.config import fileConfig

from sqlalchemy import engine_from_config
from sqlalchemy import pool

from alembic import context

from shop.base import Base
from shop import accounts, catalogue  # noqa: F401

config = context.config

target_metadata = Base.metadata


def run_migrations_online() -> None:
    connectable = engine_from_config(
        config.get_section(config.config_ini_section, {}),
        prefix="sqlalchemy.",
        poolclass=pool.NullPool,
    )
    with connectable.connect() as connection:
        context.configure(connection=connection, target_metadata=target_metadata)
        with context.begin_transaction():
            context.run_migrations()


run_migrations_online()
"""
_TEMPLATE = Path(alembic.__file__).parent / "templates" / "generic" / "script.py.mako"
_TOML = "pyproject.toml"
_INI = """\
[alembic]
script_location = %(here)s/alembic
prepend_sys_path = %(here)s
"""
_BASE = """\
from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    pass
"""
_ACCOUNTS = """\
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, String, func, text
from sqlalchemy.orm import Mapped, mapped_column

from shop.base import Base


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(320), unique=True)
    age: Mapped[int | None]
    active: Mapped[bool] = mapped_column(server_default=text("true"))
    joined: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)

    __table_args__ = (CheckConstraint("age >= 0", name="ck_users_age"),)


class Address(Base):
    __tablename__ = "addresses"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    street: Mapped[str] = mapped_column(String(200))
"""
_CATALOGUE = """\
from sqlalchemy import Column, ForeignKey, Integer, String, Table

from shop.base import Base

for number in range(28):
    Table(
        f"thing_{number:02d}",
        Base.metadata,
        Column("id", Integer, primary_key=True),
        Column("name", String(40), nullable=False),
        *([Column("size", Integer)] if number < 9 else []),
        *([Column("user_id", Integer, ForeignKey("users.id"))] if number % 5 == 0 else []),
    )
"""
_THING = """\
op.create_table(
        "thing_{0:02d}",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        {1}sa.PrimaryKeyConstraint("id"),
    )"""
_OF_USER = (
    'sa.Column("user_id", sa.Integer(), nullable=True),\n        '
    'sa.ForeignKeyConstraint(["user_id"], ["users.id"]),\n        '
)
_USERS = """\
op.create_table(
        "users",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("age", sa.Integer(), nullable=True),
        sa.Column("joined", sa.DateTime(), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("email"),
    )"""
_ADDRESSES = """\
op.create_table(
        "addresses",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("street", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_addresses_user_id", "addresses", ["user_id"])"""
_INDEX = 'op.create_index("ix_users_joined", "users", ["joined"])'
_ACTIVE = """\
op.add_column(
        "users", sa.Column("active", sa.Boolean(), server_default=sa.text("true"), nullable=False)
    )"""


@dataclass
class StockProject:
    """Such a project, in a folder, with its own `alembic`.

    Its models are imported by this process, which forgets those of an earlier one.

    Attributes:
        folder: of the project.
        url: of its database, as SQLAlchemy knows it.
        more: statements that its last revision executes besides.
    """

    folder: Path
    url: str = "sqlite:///shop.db"
    more: tuple[str, ...] = ()
    history: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        files = {
            "alembic.ini": f"{_INI}sqlalchemy.url = {self.url}\n",
            "alembic/env.py": _ENV,
            "alembic/script.py.mako": _TEMPLATE.read_text(),
            "shop/__init__.py": "",
            "shop/base.py": _BASE,
            "shop/accounts.py": _ACCOUNTS,
            "shop/catalogue.py": _CATALOGUE,
        }
        for name, text in files.items():
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).write_text(text)
        for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
            del sys.modules[name]
        self._write_history()

    def _write_history(self) -> None:
        things = [_THING.format(n, _OF_USER if n % 5 == 0 else "") for n in range(28)]
        last = self._revision("users", None, _USERS)
        last = self._revision("addresses", last, _ADDRESSES)
        for number in range(6):
            last = self._revision(f"thing {number}", last, things[number])
        left = self._revision("left", last, *things[6:9])
        right = self._revision("right", last, *things[9:12])
        last = self._revision("merge left and right", (left, right))
        for number in range(9):
            sizes = f'op.add_column("thing_{number:02d}", sa.Column("size", sa.Integer()))'
            if number == 5:
                branch = self._revision("branch", last, *things[12:20])
            last = self._revision(f"size of {number}", last, sizes)
        last = self._revision("merge the branch", (last, branch))
        last = self._revision("active users", last, _ACTIVE)
        last = self._revision("nothing", last)
        last = self._revision("an index", last, _INDEX)
        more = (f"op.execute({sql!r})" for sql in self.more)
        self._revision("the rest", last, *things[20:], *more)

    def _revision(self, message: str, down: str | tuple[str, str] | None, *lines: str) -> str:
        number = hashlib.sha1(message.encode()).hexdigest()[:12]
        file = f"{number}_{message.replace(' ', '_')}.py"
        (self.folder / "alembic" / "versions").mkdir(exist_ok=True)
        (self.folder / "alembic" / "versions" / file).write_text(
            f'"""{message}\n\nRevision ID: {number}\nRevises: {down}\n"""\n'
            "from alembic import op\nimport sqlalchemy as sa\n\n"
            f"revision = {number!r}\ndown_revision = {down!r}\n"
            "branch_labels = None\ndepends_on = None\n\n\n"
            f"def upgrade() -> None:\n    {chr(10).join(lines) or 'pass'}\n\n\n".replace(
                "\nop.", "\n    op."
            )
            + "def downgrade() -> None:\n    pass\n"
        )
        self.history.append(number)
        return number

    @property
    def revisions(self) -> list[Path]:
        """The files of its own history."""
        return sorted((self.folder / "alembic" / "versions").glob("*.py"))

    def stock(self, *arguments: str) -> str:
        """Run its own `alembic`, in the working directory; what it printed."""
        out = io.StringIO()
        line = CommandLine(prog="alembic")
        options = line.parser.parse_args(["--raiseerr", *arguments])
        files = {"file_": Path((options.config or ["alembic.ini"])[0]), "toml_file": Path(_TOML)}
        there = {name: file for name, file in files.items() if file.exists()}
        config = Config(**there, cmd_opts=options, stdout=out, output_buffer=out)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a configuration that is older than its Alembic
            line.run_cmd(config, options)
        return out.getvalue()

    @property
    def head(self) -> str:
        """The last of its own revisions."""
        return self.history[-1]

    def orm(self, *arguments: str, code: int = 0) -> str:
        """Run `orm migrations …` as its command line would; what it printed."""
        done = CliRunner().invoke(main, ["migrations", *arguments], prog_name="orm")
        assert done.exit_code == code, (done.output, done.exception)
        return done.output

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask, or change, its database past the library."""
        engine = create_engine(self.url)
        try:
            with engine.begin() as connection:
                result = connection.exec_driver_sql(sql)
                return [tuple(row) for row in result] if result.returns_rows else []
        finally:
            engine.dispose()

    def of_table(self, table: str) -> str:
        """What ``DROP INDEX`` says besides, where an index has its name in its table."""
        return f" ON {table}" if self.url.startswith(("mariadb", "mysql")) else ""

    @property
    def recorded(self) -> tuple[list[str], list[str]]:
        """What the ledger has, and what Alembic's own table says."""
        ledger = self.query("SELECT revision FROM orm_revisions ORDER BY 1")
        version = self.query("SELECT version_num FROM alembic_version ORDER BY 1")
        return [one for (one,) in ledger], [one for (one,) in version]
