"""Databases to measure on."""

import shutil
import tempfile
from pathlib import Path

from sqlalchemy import URL, text

from models import Base
from orm import Database

__all__ = ["create", "scratch_space", "url_of"]

_ROOM = 1 << 30  # bytes; the largest case takes less
_POST = 4_150  # bytes of a file for each post of _FILL
_FILL = text(
    """
    INSERT INTO posts (user_id, title, body)
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :posts)
    SELECT 1, 'Post ' || n, hex(randomblob(1500)) FROM numbers
    """
)


def scratch_space() -> Path:
    """A folder in memory where there is one with room enough: the disk would hide what we cost."""
    memory = Path("/dev/shm")
    if memory.is_dir() and shutil.disk_usage(memory).free > _ROOM:
        return memory
    return Path(tempfile.gettempdir())


def url_of(file: Path) -> URL:
    return URL.create("sqlite+aiosqlite", database=str(file))


async def create(file: Path, megabytes: float = 0.1) -> None:
    """Make a database of about that size with the models' tables: a user and their posts."""
    async with Database(url_of(file)) as db, db.connect() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(text("INSERT INTO users (email) VALUES ('ada@example.org')"))
        await connection.execute(_FILL, {"posts": int(megabytes * 1e6 / _POST)})
        await connection.commit()
