"""Connections whose opening is cancelled."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from orm import Database
from tests.harness.cancel import CutOff, cancelled_at


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_a_connection_is_closed_whose_opening_is_cancelled(
    number: int, tmp_path: Path
) -> None:
    opened: list[sqlite3.Connection] = []
    closed: list[sqlite3.Connection] = []

    class Watched(sqlite3.Connection):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            opened.append(self)

        def close(self) -> None:
            super().close()
            closed.append(self)

    url = f"sqlite+aiosqlite:///{tmp_path}/app.db"
    sqlite3.connect(tmp_path / "app.db").close()
    db = Database(url, replicas=0, engine_options={"connect_args": {"factory": Watched}})
    for engine in (db.cluster.writer, db.cluster.primary.engine):
        with pytest.raises(CutOff):
            await cancelled_at(engine.connect().start(), number)
        await engine.dispose()
    assert len(opened) == 2
    assert set(closed) == set(opened)
    await db.close()
