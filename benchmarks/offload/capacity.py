"""A server of a fixed capacity: a proxy before it serves so many statements a second, in turn."""

import asyncio
import re
import struct
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final, Self

from orm.testing.listener import Listener

__all__ = ["Capacity"]

_STARTUP: Final = 196_608  # protocol 3.0; what else comes before it asks for TLS (PostgreSQL 54.7)
_CHUNK: Final = 1 << 16  # bytes


class Capacity:
    """PostgreSQL behind a queue. Use it in ``async with``.

    A statement waits until all that came before it are served, and is passed on after the time
    that it takes. One that names the table is a whole one; all others (BEGIN, COMMIT, a question
    for the position) take a share of that. Connections are made at once.

    Args:
        port: of the server, on the loopback interface.
        table: a word that is in the application's own statements.
        seconds: that a whole statement takes.
        share: of it that any other statement takes, from 0 to 1.
    """

    def __init__(self, port: int, table: str, *, seconds: float, share: float) -> None:
        self._target = port
        self._table = table.encode()
        self._seconds = seconds
        self._share = share
        self._free = 0.0
        self._listener = Listener(self._connected)
        self.served: Counter[str] = Counter()
        """Statements, by kind: ``"read"``, ``"write"`` and ``"other"``."""

    async def __aenter__(self) -> Self:
        await self._listener.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._listener.__aexit__(*exception)

    def url(self, direct: str) -> str:
        """The URL of the server, by way of the queue."""
        return direct.replace(f":{self._target}/", f":{self._listener.port}/")

    async def _connected(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        far, forth = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._ask(near, forth))
                both.create_task(_answer(far, back))
        except* (OSError, asyncio.IncompleteReadError):
            pass  # an end has gone
        finally:
            forth.transport.abort()

    async def _ask(self, client: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        async for message, statements in _statements(client):
            for statement in statements:
                await self._serve(statement)
            server.write(message)

    async def _serve(self, statement: bytes) -> None:
        own = self._table in statement
        kind = "other"
        if own:
            kind = "read" if statement.lstrip().upper().startswith(b"SELECT") else "write"
        self.served[kind] += 1
        now = asyncio.get_running_loop().time()
        self._free = max(self._free, now) + self._seconds * (1 if own else self._share)
        await asyncio.sleep(self._free - now)


async def _answer(server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
    while piece := await server.read(_CHUNK):
        client.write(piece)
    raise ConnectionResetError  # ends the other direction, too


async def _statements(
    client: asyncio.StreamReader,
) -> AsyncIterator[tuple[bytes, list[bytes]]]:
    """What a client sends, message by message, with the statements that it executes by each."""
    while True:  # what comes before the first typed message (PostgreSQL "Message Formats")
        size = await client.readexactly(4)
        body = await client.readexactly(struct.unpack("!I", size)[0] - 4)
        yield size + body, []
        if struct.unpack("!I", body[:4])[0] == _STARTUP:
            break
    prepared: dict[bytes, bytes] = {}
    bound: dict[bytes, bytes] = {}
    while True:
        head = await client.readexactly(5)
        body = await client.readexactly(struct.unpack("!I", head[1:])[0] - 4)
        statements = []
        match head[:1]:
            case b"P":  # Parse: the name, the statement
                name, statement, _ = body.split(b"\0", 2)
                prepared[name] = statement
            case b"B":  # Bind: the portal, the name
                portal, name, _ = body.split(b"\0", 2)
                bound[portal] = prepared[name]
            case b"E":  # Execute: the portal
                statements = [bound[body.split(b"\0", 1)[0]]]
            case b"Q":  # one statement, or several
                statements = [part for part in re.split(rb";\s*", body.rstrip(b"\0;")) if part]
            case _:
                pass
        yield head + body, statements
