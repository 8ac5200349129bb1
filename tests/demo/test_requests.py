"""Whatever is sent to the demo, it is no error of the server's."""

import asyncio
import sys
from pathlib import Path

from tests.demo.process import demo

# The same requests each time: those that its description of itself suggests, right and wrong ones.
_REQUESTS = (
    *("--checks", "not_a_server_error,response_schema_conformance,content_type_conformance"),
    *("--max-examples", "40", "--generation-deterministic", "--no-color"),
    *("--request-timeout", "60"),
)


async def test_no_request_is_an_error_of_the_servers(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    async with demo(folder) as url:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}openapi.json", *_REQUESTS),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), 250)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    said = output.decode()
    assert process.returncode == 0, said
    assert "Tested: 4" in said, said
