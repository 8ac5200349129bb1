"""The backend against the contract, and its servers against the rules."""

import asyncio
import sqlite3
from contextlib import AbstractAsyncContextManager, closing, nullcontext
from pathlib import Path

import pytest
from orm_copied import CopiedBackend

from orm import Database
from orm.backends import Backend
from orm.testing.conformance import BackendConformance

backend: Backend = CopiedBackend()  # a type checker says what is missing, or of another type


def copy(folder: Path) -> None:
    """What keeps the replica up to date: SQLite's online backup."""
    with (
        closing(sqlite3.connect(folder / "app.db")) as primary,
        closing(sqlite3.connect(folder / "copy.db")) as replica,
    ):
        primary.execute("PRAGMA journal_mode = WAL")  # readers do not keep the writer waiting
        primary.backup(replica)


class TestCopied(BackendConformance):
    one_writer = True
    folder: Path

    @pytest.fixture
    def database(self, tmp_path: Path) -> Database:
        self.folder = tmp_path
        copy(tmp_path)
        url = f"copied+aiosqlite:///{tmp_path}"
        return Database(f"{url}/app.db", replicas=[f"{url}/copy.db"])

    def paused(self, database: Database) -> AbstractAsyncContextManager[object]:
        return nullcontext()  # the replica only moves in `caught_up`

    async def caught_up(self, database: Database) -> None:
        await asyncio.to_thread(copy, self.folder)
        await super().caught_up(database)
