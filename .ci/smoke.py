"""Run by `dev.py wheel` in an environment that holds the built wheel and what it requires."""

import asyncio
import importlib
import importlib.util
import sys
import tempfile
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Mapped, mapped_column

import orm

# What needs an extra, with all that is in it, and of each the package that it asks for first.
EXTRAS = {
    "orm.backends.postgresql.asyncpg_pool": "asyncpg",
    "orm.backends.postgresql.one_trip": "psycopg",
    "orm.demo.blog": "fastapi",
    "orm.demo.server": "uvicorn",
    "orm.telemetry.opentelemetry": "opentelemetry",
    "orm.telemetry.prometheus": "prometheus_client",
    "orm.testing.conformance": "pytest",
    "orm.testing.mysql.cluster": "pymysql",
    "orm.testing.mysql.node": "pymysql",
    "orm.testing.mysql.server": "pymysql",
    "orm.testing.plugin": "pytest",
    "orm.web.fastapi": "fastapi",
    "orm.web.litestar": "litestar",
}


class Note(orm.Base):
    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


def import_everything() -> int:
    """Import every module of the installed package; none may need what only tests install."""
    if importlib.util.find_spec("pytest") is not None:
        sys.exit("pytest is installed: what needs it does not show here")
    package = Path(orm.__file__).parent
    names = []
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package.parent).with_suffix("").parts
        names.append(".".join(parts).removesuffix(".__init__"))
        if parts[-1] == "__main__" or names[-1].startswith("orm.demo.alembic"):
            continue  # it runs a command; Alembic runs these
        try:
            importlib.import_module(names[-1])
        except ModuleNotFoundError as error:
            if not any(
                error.name == needed and f"{names[-1]}.".startswith(f"{module}.")
                for module, needed in EXTRAS.items()
            ):
                raise
    return len(names)


async def read_own_write(folder: str) -> None:
    """A write on the primary and, from its bookmark, a read with a real replica at hand."""
    async with orm.Database(f"sqlite+aiosqlite:///{folder}/app.db", replicas=1) as db:
        async with db.begin() as session:
            connection = await session.connection()
            await connection.run_sync(Note.metadata.create_all)
            session.add(Note(text="kept"))
        token = await session.bookmark()
        async with db.session(token) as session:
            if (await session.scalars(select(Note.text))).all() != ["kept"]:
                sys.exit("a session did not read the write that its bookmark stands for")


print(f"{import_everything()} modules import without any extra")
with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
    asyncio.run(read_own_write(folder))
print("a session reads its own write")
