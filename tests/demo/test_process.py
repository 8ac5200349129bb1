"""`orm demo` from its first line to its end."""

import os
import signal
from pathlib import Path

import httpx2
import pytest

from tests.demo.process import demo


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
async def test_it_leaves_nothing_behind(tmp_path: Path, end: signal.Signals) -> None:
    async with demo(tmp_path, end) as url, httpx2.AsyncClient(base_url=url, timeout=60) as http:
        ready = await http.get("/health/ready")
        assert [server["name"] for server in ready.json()["servers"]][1:] == [
            "replica-1",
            "replica-2",
        ]
        assert len(os.listdir(tmp_path)) == 1
