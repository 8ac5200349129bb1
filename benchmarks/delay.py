"""A network of a chosen length between a client and a server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from orm.testing.listener import Listener

__all__ = ["delayed"]

_CHUNK = 1 << 16  # bytes


@asynccontextmanager
async def delayed(port: int, seconds: float) -> AsyncIterator[int]:
    """A port of the loopback interface from which another one is that far away.

    Args:
        port: where the server listens.
        seconds: that a round trip takes longer.

    Returns:
        Where clients connect instead.
    """

    async def connected(near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        far, forth = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_carry(near, forth, seconds / 2))
                both.create_task(_carry(far, back, seconds / 2))
        finally:
            forth.transport.abort()

    async with Listener(connected) as listener:
        yield listener.port


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter, seconds: float) -> None:
    """Pass on what arrives, each piece as long after it as the way is."""
    clock = asyncio.get_running_loop().time
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, piece = await under_way.get()
            await asyncio.sleep(due - clock())
            if not piece:
                return
            sink.write(piece)

    with suppress(ConnectionError):  # one end has gone, and the other is told by the close
        async with asyncio.TaskGroup() as both:
            both.create_task(deliver())
            while piece := await source.read(_CHUNK):
                under_way.put_nowait((clock() + seconds, piece))
            under_way.put_nowait((clock() + seconds, b""))
    sink.close()
