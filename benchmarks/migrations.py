"""What migrations cost beside stock Alembic, with its async template, on the same revisions.

On PostgreSQL both use the driver that is named: ours would choose psycopg, if its URL had no
parameter that only asyncpg understands.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Final, Literal

import psycopg
from alembic import command
from alembic.config import Config
from sqlalchemy import make_url

from benchmarks.data import url_of
from benchmarks.rounds import Comparison
from orm import migrations
from orm.testing.postgresql import Cluster

__all__ = ["CASES", "HEADING", "Case", "measure"]

HEADING = f"{'stock':>10}{'ours':>10}{'ratio':>9}{'middle half':>15}"

_REVISION = '''\
"""revision {number}"""

import sqlalchemy as sa
from alembic import op

revision: str = "{number:04d}"
down_revision: str | None = {follows}


def upgrade() -> None:
    op.create_table(
        "table_{number}",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(20)),
    )
'''
_SETTINGS = """\
[tool.alembic]
script_location = "%(here)s/alembic"
prepend_sys_path = ["%(here)s"]
revision_environment = true
[tool.orm]
local = "{url}"
"""
_ENVIRONMENT = """\
from sqlalchemy import MetaData
from orm import migrations
migrations.run(MetaData())
"""
_ORM = [sys.executable, "-c", "from orm.cli import main; main()", "migrations"]
_ALEMBIC = [sys.executable, "-m", "alembic"]

Driver = Literal["asyncpg", "psycopg"]
_DRIVERS: Final[tuple[Driver, ...]] = ("psycopg", "asyncpg")


@dataclass(frozen=True)
class Application:
    """A folder with revisions, and its database."""

    folder: Path
    url: str

    def begin_again(self) -> None:
        """As if nothing had been applied yet."""
        url = make_url(self.url)
        if url.get_backend_name() == "sqlite":
            for file in self.folder.glob("app.db*"):
                file.unlink()
            return
        server = url.set(drivername="postgresql", database="postgres", query={})
        with psycopg.connect(server.render_as_string(False), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {url.database}".encode())
            connection.execute(f"CREATE DATABASE {url.database}".encode())

    def run(self, arguments: list[str]) -> None:
        subprocess.run(
            arguments,
            cwd=self.folder,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # As elsewhere: the revisions' bytecode is kept.
            env={k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
        )


class Stock(Application):
    """What `alembic init -t async` makes."""

    def make(self, revisions: int) -> None:
        command.init(self._config, str(self.folder / "alembic"), template="async")
        file = self.folder / "alembic.ini"
        text = file.read_text().replace("driver://user:pass@localhost/dbname", self.url)
        file.write_text(text)
        _write_revisions(self.folder, revisions)

    @property
    def _config(self) -> Config:
        return Config(self.folder / "alembic.ini")

    def apply(self) -> None:
        command.upgrade(self._config, "head")

    def apply_command(self) -> None:
        self.run([*_ALEMBIC, "upgrade", "head"])

    def list_command(self) -> None:
        self.run([*_ALEMBIC, "history"])


class Ours(Application):
    """The same with this library."""

    def make(self, revisions: int) -> None:
        (self.folder / "alembic" / "versions").mkdir(parents=True)
        (self.folder / "alembic" / "env.py").write_text(_ENVIRONMENT)
        (self.folder / "pyproject.toml").write_text(_SETTINGS.format(url=self.url))
        _write_revisions(self.folder, revisions)

    def apply(self) -> None:
        asyncio.run(migrations.apply(self.url, folder=self.folder))

    def apply_command(self) -> None:
        self.run([*_ORM, "apply", "--local"])

    def list_command(self) -> None:
        self.run([*_ORM, "list", "--local"])


def _write_revisions(folder: Path, number: int) -> None:
    for i in range(1, number + 1):
        follows = f'"{i - 1:04d}"' if i > 1 else "None"
        text = _REVISION.format(number=i, follows=follows)
        (folder / "alembic" / "versions" / f"{i:04d}_revision.py").write_text(text)


@dataclass(frozen=True)
class Case:
    """Something that both are asked to do."""

    name: str
    operation: Callable[[Stock | Ours], None]
    aim: float | None
    note: str
    was: float | None = None
    revisions: int = 1000
    from_zero: bool = False
    on_disk: bool = False
    driver: Driver | None = None  # of PostgreSQL


CASES = [
    Case(
        "1000 revisions, on disk", lambda one: one.apply(), 0.2, "in process, from zero",
        from_zero=True, on_disk=True,
    ),
    Case(
        "1000 revisions, in memory", lambda one: one.apply(), None, "in process, from zero",
        from_zero=True,
    ),
    Case(
        "nothing to apply", lambda one: one.apply_command(), 1.2, "as a command", revisions=10
    ),
    Case("list of 1000 revisions", lambda one: one.list_command(), 0.5, "as a command"),
    *(
        case
        for driver in _DRIVERS
        for case in (
            Case(
                f"{driver}: 300 revisions", lambda one: one.apply(), None, "in process, from zero",
                revisions=300, from_zero=True, driver=driver,
            ),
            Case(
                f"{driver}: nothing to apply", lambda one: one.apply_command(), 1.2,
                "as a command", revisions=10, driver=driver,
            ),
        )
    ),
]  # fmt: skip


async def measure(case: Case, folder: Path, *, quick: bool) -> Comparison:
    """Compare the two; they take turns."""
    return await asyncio.to_thread(_measure, case, folder, 3 if quick else 10)


def _measure(case: Case, folder: Path, rounds: int) -> Comparison:
    with _place(case, folder) as place, _urls(case, place) as urls, _quiet():
        sys.dont_write_bytecode = False  # whatever this machine says: elsewhere it is kept
        both: list[Stock | Ours] = [
            Stock(place / "stock", urls["stock"]),
            Ours(place / "ours", urls["ours"]),
        ]
        for one in both:
            one.folder.mkdir()
            one.make(case.revisions)
            one.begin_again()
            one.apply()
        taken: list[tuple[float, float]] = []
        for _ in range(1 + rounds):  # the first one warms up
            stock, ours = (_time(case, one) for one in both)
            taken.append((stock, ours))
    taken = taken[1:]
    low, middle, high = quantiles((ours / stock for stock, ours in taken), n=4)
    return Comparison(
        plain=median(stock for stock, _ in taken),
        ours=median(ours for _, ours in taken),
        ratio=middle,
        quartiles=(low, high),
    )


def _time(case: Case, one: Stock | Ours) -> float:
    """Microseconds for one operation."""
    if case.from_zero:
        one.begin_again()
    began = perf_counter()
    case.operation(one)
    return (perf_counter() - began) * 1e6


@contextmanager
def _place(case: Case, folder: Path) -> Iterator[Path]:
    if case.on_disk:
        with tempfile.TemporaryDirectory(prefix="bookmark-orm-") as name:
            yield Path(name)
    else:
        yield folder


@contextmanager
def _urls(case: Case, place: Path) -> Iterator[dict[str, str]]:
    """Of the two databases."""
    names = ("stock", "ours")
    if case.driver is None:
        yield {name: url_of(place / name / "app.db").render_as_string() for name in names}
        return
    query = {"prepared_statement_cache_size": "100"} if case.driver == "asyncpg" else {}
    with Cluster(standbys=0) as cluster:
        server = make_url(cluster.primary.url(case.driver)).set(query=query)
        yield {name: server.set(database=name).render_as_string(False) for name in names}


@contextmanager
def _quiet() -> Iterator[None]:
    """The template's logging would fill the screen."""
    nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 -- closed below
    with nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield
