"""The network between a client and a server: slow, swallowing everything, or broken."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Self

from orm.testing.listener import Listener

__all__ = ["Proxy"]


class _Cut:
    """The break of one connection, and how far it is."""

    def __init__(self, words: bytes) -> None:
        self._words = words
        self.is_done: bool = not words

    def is_met_by(self, data: bytes) -> bool:
        """Whether a client sends the words, for the first time."""
        met = bool(self._words) and self._words in data
        if met:
            self._words = b""
        return met


class Proxy:
    """Forwards TCP connections to a port, with the troubles of a network.

    Use it in ``async with``; `url` leads through it::

        async with Proxy(standby.port) as proxy:
            async with Database(primary.url(), replicas=[proxy.url(standby.url())]) as db:
                proxy.black_hole()

    Args:
        port: where it forwards to, on the loopback interface.
        latency: seconds that everything takes in either direction; settable at any time.
    """

    def __init__(self, port: int, *, latency: float = 0.0) -> None:
        self.latency = latency
        self._target = port
        self._open = asyncio.Event()
        self._open.set()
        self._cut = _Cut(b"")
        self._listener = Listener(self._serve)

    async def __aenter__(self) -> Self:
        await self._listener.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._listener.__aexit__(*exception)

    @property
    def port(self) -> int:
        """Where it listens, on the loopback interface."""
        return self._listener.port

    def url(self, direct: str) -> str:
        """The URL of a server, by way of the proxy."""
        return direct.replace(f":{self._target}/", f":{self.port}/")

    def black_hole(self) -> None:
        """Deliver nothing from now on, without closing anything: connections are made, and hang."""
        self._open.clear()

    def heal(self) -> None:
        """Deliver again, also what was held back."""
        self._open.set()

    def forget(self) -> None:
        """Deliver nothing on the connections that exist, without closing them; make new ones."""
        self._open, forgotten = asyncio.Event(), self._open
        self._open.set()
        forgotten.clear()

    def cut(self) -> None:
        """Break all connections."""
        self._listener.cut()

    def cut_at(self, words: bytes) -> None:
        """Break the next connection whose client sends these words, when the server answers them.

        The server has done what they say by then, and the client does not learn it.

        Args:
            words: such as ``b"COMMIT"``; without any words no connection is cut.
        """
        self._cut = _Cut(words)

    @property
    def has_cut(self) -> bool:
        """Whether what `cut_at` was told last has happened, or is called off."""
        return self._cut.is_done

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened = self._open
        far_writer: asyncio.StreamWriter | None = None
        cut: _Cut | None = None

        def sends(data: bytes) -> bool:
            nonlocal cut
            if self._cut.is_met_by(data):
                cut = self._cut
            return False

        def is_answered(_: bytes) -> bool:
            return cut is not None

        try:
            await opened.wait()
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            await _first(
                self._forward(reader, far_writer, opened, sends),
                self._forward(far_reader, writer, opened, is_answered),
            )
        finally:
            if cut is not None:
                cut.is_done = True
            if far_writer is not None:
                far_writer.transport.abort()

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        opened: asyncio.Event,
        ends: Callable[[bytes], bool],
    ) -> None:
        """What arrives while something is under way is not held up by it.

        Args:
            reader: where it comes from.
            writer: where it goes.
            opened: set while something is delivered.
            ends: told what is about to be delivered; whether the connection ends instead.
        """
        loop = asyncio.get_running_loop()
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                due, data = await under_way.get()
                await asyncio.sleep(due - loop.time())
                await opened.wait()
                if not data or ends(data):
                    return
                writer.write(data)
                await writer.drain()

        async def receive() -> None:
            while data := await reader.read(65536):
                under_way.put_nowait((loop.time() + self.latency, data))
            under_way.put_nowait((loop.time() + self.latency, b""))
            await asyncio.Event().wait()  # until what is under way has arrived

        await _first(deliver(), receive())


async def _first(*ways: Coroutine[Any, Any, None]) -> None:
    """Return when one of them is done; the others end with it."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
