"""A server for scratch databases alone, which runs while one of them is needed.

No server of the project's has to be reached for them, and no account needs CREATEDB.
"""

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from sqlalchemy import URL

from orm._cache import cache
from orm.backends.postgresql.own_server import OwnServer, give, new_folder
from orm.backends.postgresql.programs import are_there, find, version

__all__ = ["is_possible", "is_there", "running"]

_VARIABLE: Final = "ORM_POSTGRESQL_SCRATCH"
_SETTINGS: Final = """
listen_addresses = ''
fsync = off
full_page_writes = off
synchronous_commit = off
wal_level = minimal
max_wal_senders = 0
autovacuum = off
shared_buffers = 16MB
dynamic_shared_memory_type = mmap
max_connections = 20
"""

_LOCK: Final = threading.Lock()
_running: OwnServer | None = None
_users = 0


def is_possible() -> bool:
    """Whether PostgreSQL's programs are at hand, and may be used."""
    return os.environ.get(_VARIABLE) != "server" and are_there()


def is_there(url: URL) -> bool:
    """Whether a URL is of this process's own server."""
    return _running is not None and url.query.get("host") == str(_running.folder)


@contextmanager
def running() -> Iterator[URL]:
    """For the length of the block, this process's own server runs; one for all blocks.

    Returns:
        Where it is, for psycopg.

    Raises:
        RuntimeError: it does not start; with what it said last.
    """
    global _running, _users
    with _LOCK:
        if _running is None:
            _running = _started()
        _users += 1
        server = _running
    try:
        yield URL.create(
            "postgresql+psycopg",
            username="postgres",
            database="postgres",
            query={"host": str(server.folder), "port": str(server.port)},
        )
    finally:
        with _LOCK:
            _users -= 1
            if not _users:
                _running = None
                _end(server)


def _started() -> OwnServer:
    folder = new_folder()
    server = OwnServer("the scratch server", folder, Path(), _SETTINGS)
    try:
        server = OwnServer("the scratch server", folder, find(folder), _SETTINGS)
        _create(server)
        server.start()
    except BaseException:
        _end(server)
        raise
    return server


def _create(server: OwnServer) -> None:
    """Make its files: a copy of those that were made for the first one, since that is faster."""
    template = cache(f"postgresql-{version(server.programs)}")
    if template.is_dir():
        shutil.copytree(template, server.data)
        for path in (server.data, *server.data.rglob("*")):
            give(path)
        server.configure(_SETTINGS)
        return
    server.create()
    with suppress(OSError):  # the folder of the user cannot be written, or another was first
        template.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=template.parent) as scratch:
            shutil.copytree(server.data, Path(scratch) / "data")
            (Path(scratch) / "data").rename(template)


def _end(server: OwnServer) -> None:
    if server.is_running:
        server.stop("immediate")
    shutil.rmtree(server.folder)
