"""`orm demo` as a person starts it."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


@asynccontextmanager
async def demo(folder: Path, end: signal.Signals = signal.SIGINT) -> AsyncIterator[str]:
    """The demo in a process of its own, ended by a signal; where it is."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "orm.cli", "demo", "--no-open", "--port=0"),
        env={"TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    url = re.search(r"http://\S+", (await process.stdout.readline()).decode())
    assert url is not None
    try:
        yield url[0]
    finally:
        process.send_signal(end)
        _, errors = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, b"Traceback" in errors) == (0, False), errors
    assert os.listdir(folder) == []
