"""A real browser, spoken to in its own protocol through two pipes: nothing else is needed.

See "Chrome DevTools Protocol" and Chromium's ``--remote-debugging-pipe``: it reads commands from
file descriptor 3 and writes answers to 4, as JSON, each ended by a null byte.
"""

import asyncio
import base64
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = """
    --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync
    --disable-background-networking --disable-component-update --hide-scrollbars
    --remote-debugging-pipe
""".split()
# The two ends have to be descriptors 3 and 4 in the browser, whatever they are here.
RUN = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for descriptor, end in zip((3, 4), ends):
    os.dup2(end, descriptor)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """The browser as a whole."""

    def __init__(self, reader: asyncio.StreamReader, write: int) -> None:
        self._reader = reader
        self._write = write
        self._numbers = count(1)
        self._pages: dict[str, Page] = {}

    async def send(
        self, method: str, session: str | None = None, **parameters: Any
    ) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        async with asyncio.timeout(60):
            while (answer := await self._read()).get("id") != number:
                pass
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    async def _read(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads((await self._reader.readuntil(b"\0"))[:-1])
        if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
            self._pages[message["sessionId"]].complaints.append(json.dumps(message["params"]))
        return message

    async def loaded(self, url: str) -> None:
        """Return when a page has been loaded, and not the empty one before it."""
        async with asyncio.timeout(60):
            while (await self._read()).get("params", {}).get("frame", {}).get("url") != url:
                pass
            while (await self._read()).get("method") != "Page.loadEventFired":
                pass

    async def open(self, url: str) -> "Page":
        target = await self.send("Target.createTarget", url="about:blank")
        attached = await self.send(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        page = self._pages[attached["sessionId"]] = Page(self, attached["sessionId"])
        for domain in ("Page", "Runtime", "Log"):
            await page.send(f"{domain}.enable")
        await page.go(url)
        return page


class Page:
    """One tab."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.complaints: list[str] = []
        """Errors in its console."""

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        return await self._browser.send(method, self._session, **parameters)

    async def go(self, url: str) -> None:
        await self.send("Page.navigate", url=url)
        await self._browser.loaded(url)

    async def close(self) -> None:
        await self.send("Page.close")

    async def js(self, expression: str) -> Any:
        """What an expression is worth in the page."""
        answer = await self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, expression: str, within: float = 60.0) -> Any:
        """Wait for an expression to be true in the page, at each frame that it draws."""
        return await asyncio.wait_for(
            self.js(
                f"""new Promise(done => {{ const look = () => {{
                    let found; try {{ found = {expression}; }} catch {{ found = false; }}
                    found ? done(found) : setTimeout(look, 15); }}; look(); }})"""
            ),
            within,
        )

    async def key(self, key: str, code: int) -> None:
        """Press a key."""
        for kind in ("rawKeyDown", "keyUp"):
            await self.send(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code="Space" if key == " " else key,
                text=" " if key == " " else "",
                windowsVirtualKeyCode=code,
            )
            if kind == "rawKeyDown" and key in (" ", "Enter"):
                text = "\r" if key == "Enter" else " "
                await self.send("Input.dispatchKeyEvent", type="char", text=text)

    async def look(
        self, width: int, height: int, *, dark: bool = False, mobile: bool = False
    ) -> None:
        """How the page is looked at."""
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if mobile else 1,
            mobile=mobile,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", features=[scheme])

    async def screenshot(self) -> bytes:
        """What can be seen, as PNG."""
        shot = await self.send("Page.captureScreenshot")
        return base64.b64decode(shot["data"])


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Browser]:
    """A browser with an empty profile in a folder."""
    assert CHROMIUM is not None
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        RUN,
        str(to_read),
        str(from_write),
        CHROMIUM,
        *FLAGS,
        f"--user-data-dir={folder}",
        pass_fds=(to_read, from_write),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    os.close(to_read)
    os.close(from_write)
    reader = asyncio.StreamReader(limit=2**26)
    pipe = os.fdopen(from_read, "rb")
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    chromium = Browser(reader, to_write)
    try:
        yield chromium
    finally:
        await chromium.send("Browser.close")
        await process.wait()
        transport.close()
        os.close(to_write)
