"""Several processes, threads and tasks apply at once: each revision runs once, and no run fails."""

import asyncio
import gc
import logging
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url

from orm import migrations
from orm.backends import migrations_for
from orm.exceptions import MigrationError
from tests.migrations.support import COMMAND_LINES, ENGINES, Project

pytestmark = pytest.mark.slow  # each runs a program

ORM = "from orm.cli import main; main()"
COMMANDS = {
    "orm": [sys.executable, "-c", ORM, "migrations", "apply", "--local"],
    "alembic": [sys.executable, "-m", "alembic", "upgrade", "head"],
}
NUMBERS = [f"{number:04d}" for number in range(1, 7)]


@pytest.fixture
def ready(project: Project) -> Project:
    """Six revisions; each one leaves a row that says that it ran."""
    project.revision(1, "op.create_table('ran', sa.Column('number', sa.Integer))")
    for number in range(2, 7):
        project.revision(number, f"op.execute('INSERT INTO ran VALUES ({number})')")
    return project


def begin(project: Project, command_line: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        COMMANDS[command_line],
        cwd=project.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def runs(project: Project) -> list[int]:
    return [number for (number,) in project.query("SELECT number FROM ran ORDER BY 1")]


@pytest.mark.parametrize("project", ["sqlite", "postgresql", "asyncpg"], indirect=True)
def test_six_processes(ready: Project) -> None:
    processes = [begin(ready, name) for name in ("orm", "alembic") for _ in range(3)]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 6, said
    assert ready.ledger == NUMBERS
    assert runs(ready) == [2, 3, 4, 5, 6]


@ENGINES
@COMMAND_LINES
def test_one_is_killed_in_the_middle(ready: Project, command_line: str) -> None:
    fifo = ready.folder / "reached"
    os.mkfifo(fifo)
    kept = ready.file("0003_by_hand.py").read_text()
    ready.revision(
        3, "op.execute('INSERT INTO ran VALUES (3)')", f"open({str(fifo)!r}, 'w').close()",
        "import time; time.sleep(600)",
    )  # fmt: skip
    process = begin(ready, command_line)
    fifo.read_bytes()  # returns when the revision has come there
    waiting = begin(ready, command_line)
    for one in (process, waiting):  # the other one would run the corrected file
        one.send_signal(signal.SIGKILL)
        one.communicate()
    ready.file("0003_by_hand.py").write_text(kept)
    assert ready.ledger == ["0001", "0002"]
    assert runs(ready) == [2]
    ready.upgrade(command_line)
    assert ready.ledger == NUMBERS
    assert runs(ready) == [2, 3, 4, 5, 6]


@COMMAND_LINES
def test_who_comes_second_waits(ready: Project, command_line: str) -> None:
    url = make_url(ready.url)
    backend = migrations_for(url)
    engine = backend.engine(url)
    assert isinstance(engine, Engine)
    with engine.connect() as connection, backend.migrating(connection, 60):
        process = begin(ready, command_line)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(4)  # it takes a quarter of that when it need not wait
        assert ready.tables == set(), "SQLite's own lock is free, and nothing was done"
    said, _ = process.communicate()
    engine.dispose()
    assert process.returncode == 0, said
    assert runs(ready) == [2, 3, 4, 5, 6]


@ENGINES
async def test_waiting_is_said_and_has_an_end(
    ready: Project, caplog: pytest.LogCaptureFixture
) -> None:
    url = make_url(ready.url)
    backend = migrations_for(url)
    engine = backend.engine(url)
    assert isinstance(engine, Engine)

    def waits() -> list[logging.LogRecord]:
        return [entry for entry in caplog.records if "waiting for it" in entry.message]

    with engine.connect() as connection, backend.migrating(connection, 60):
        with pytest.raises(MigrationError, match="was not done within 0 s: apply again when it is"):
            await migrations.apply("local", patience=0)
        assert waits() == []
        result = ready.orm("apply", "--local", "--patience", "0.2")
        assert result.exit_code == 1
        assert "was not done within 0.2 s: apply again when it is" in result.stderr
        assert ready.ledger == []
        caplog.clear()
        waiting = asyncio.create_task(migrations.apply("local"))
        async with asyncio.timeout(60):
            while not waits():  # noqa: ASYNC110 -- a log wakes no task
                await asyncio.sleep(0.01)
    engine.dispose()
    assert await waiting == NUMBERS
    [said] = waits()
    assert "process" in said.message
    assert said.levelno == logging.WARNING, "which is seen where logging is not set up"


# Inside one process ------------------------------------------------------------------------


@ENGINES
async def test_four_tasks(ready: Project) -> None:
    done = await asyncio.gather(*(migrations.apply("local") for _ in range(4)))
    assert sorted(done, key=len) == [[], [], [], NUMBERS]
    assert runs(ready) == [2, 3, 4, 5, 6]


@ENGINES
async def test_the_event_loop_goes_on(ready: Project) -> None:
    reached, go_on = ready.folder / "reached", ready.folder / "go on"
    os.mkfifo(reached)
    os.mkfifo(go_on)
    ready.revision(
        2, f"open({str(reached)!r}, 'w').close()", f"open({str(go_on)!r}).close()"
    )  # fmt: skip
    applying = asyncio.create_task(migrations.apply("local"))
    await asyncio.to_thread(reached.read_bytes)
    assert not applying.done()
    await asyncio.to_thread(go_on.write_text, "")
    assert await applying == NUMBERS


async def test_to_a_url_up_to_a_revision(ready: Project, tmp_path: Path) -> None:
    file = tmp_path / "other.db"
    url = f"sqlite+aiosqlite:///{file}"
    assert await migrations.apply(url, to="0002") == ["0001", "0002"]
    assert await migrations.apply(url, folder=ready.folder) == NUMBERS[2:]
    assert file.exists()
    assert not ready.database.exists()


async def test_the_applications_loggers_stay_as_they_were(ready: Project) -> None:
    logger = logging.getLogger("an.application")
    root = logging.getLogger()
    before = root.handlers.copy(), root.level, logger.level
    await migrations.apply("local")
    assert (root.handlers, root.level, logger.level) == before
    assert not logger.disabled


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("theirs", [False, True])
async def test_what_the_garbage_collector_leaves_alone_stays_as_it_was(
    ready: Project, theirs: bool, broken: bool
) -> None:
    count = ready.folder / "count"
    code = (
        f"import gc, pathlib; pathlib.Path({str(count)!r}).write_text(f'{{gc.get_freeze_count()}}')"
    )
    ready.revision(7, code, "1 / 0" if broken else "pass")
    if theirs:
        gc.freeze()
    try:
        with pytest.raises(MigrationError) if broken else nullcontext():
            await migrations.apply("local")
        assert bool(gc.get_freeze_count()) is theirs
        assert int(count.read_text()) > 0
    finally:
        gc.unfreeze()


def test_alembic_is_imported_by_who_needs_it() -> None:
    code = (
        "import sys; from orm.migrations import target_url; target_url('local');"
        "assert 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
