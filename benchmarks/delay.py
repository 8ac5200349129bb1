"""A network of a chosen length between a client and a server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

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
    connections: set[asyncio.Task[None]] = set()

    async def connected(near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        far, forth = await asyncio.open_connection("127.0.0.1", port)
        for pair in ((near, forth), (far, back)):
            task = asyncio.create_task(_carry(*pair, seconds / 2))
            connections.add(task)
            task.add_done_callback(connections.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


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
