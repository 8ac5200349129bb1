"""A pytest of its own, and the servers that it has started."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def pytest_run(folder: Path, test: str, *options: str) -> subprocess.Popen[str]:
    (folder / "test_it.py").write_text(test)
    plain = ("-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:pytest_alembic")
    command = (sys.executable, "-m", "pytest", *plain, "-q", "-W", "error")
    return subprocess.Popen(
        (*command, *options),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def servers_of(pid: int, prefix: str = "orm-pg-") -> list[int]:
    """Processes that run in a folder of a pytest's clusters, but for its keepers."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            command = (folder / "cmdline").read_bytes()
        except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
            continue
        if f"/{prefix}{pid}-".encode() in command:
            found.append(int(folder.name))
    return found


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
