"""A server on the loopback interface, of which nothing is left when it ends."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Self

__all__ = ["Listener"]


class Listener:
    """Serves each connection in a task, and closes it when that task ends, however it does.

    Use it in ``async with``. `asyncio.start_server` may leave a connection open that comes when the
    server is closed, or when all tasks are cancelled: its own, until its task has begun.

    Args:
        serve: does what is done on a connection, until it returns. OSError ends it, too.
    """

    def __init__(
        self, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    ) -> None:
        self._serve = serve
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self._socket, self._accept)
        return self

    async def __aexit__(self, *exception: object) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._socket.getsockname()[1]
        return port

    def cut(self) -> None:
        """Break all connections."""
        for task in self._tasks:
            task.cancel()

    def _accept(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return  # the client has gone again

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            connection.close()

        task = asyncio.ensure_future(self._run(connection))
        self._tasks.add(task)
        task.add_done_callback(ended)

    async def _run(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            with suppress(OSError):  # an end is gone
                await self._serve(reader, writer)
        finally:
            writer.transport.abort()
