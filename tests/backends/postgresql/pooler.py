"""Several servers behind one address: each connection, or each transaction, is on any of them."""

import asyncio
import struct
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from random import Random
from typing import Literal, NamedTuple, Self

from orm.testing.listener import Listener

_NO_ENCRYPTION = (80877103, 80877104)  # PostgreSQL "SSLRequest", "GSSENCRequest"
_CANCEL = 80877102
_KNOWN = {"user", "database", "client_encoding", "application_name", "DateStyle", "TimeZone"}


class _Link(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def message(self) -> bytes:
        head = await self.reader.readexactly(5)
        [length] = struct.unpack("!I", head[1:])
        return head + await self.reader.readexactly(length - 4)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


class Pooler:
    """As PgBouncer hands out server connections, only that each may go to another server.

    Args:
        ports: of the servers, on the loopback interface.
        by: how long a client keeps its server connection.
    """

    def __init__(
        self, ports: Sequence[int], by: Literal["transaction", "connection"] = "transaction"
    ) -> None:
        self._ports = ports
        self._chance = Random(1)
        self._by = by
        self._idle: defaultdict[tuple[int, bytes], list[_Link]] = defaultdict(list)
        self._listener = Listener(self._accept)

    async def __aenter__(self) -> Self:
        await self._listener.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._listener.__aexit__(*exception)
        for links in self._idle.values():
            for link in links:
                link.writer.transport.abort()

    @property
    def port(self) -> int:
        return self._listener.port

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            await self._serve(_Link(reader, writer))

    async def _serve(self, client: _Link) -> None:
        startup = await _startup(client)
        if self._by == "transaction" and (unknown := _parameters(startup) - _KNOWN):
            text = f"unsupported startup parameter: {min(unknown)}"
            fields = f"SFATAL\0VFATAL\0C08P01\0M{text}\0\0".encode()
            await client.send(b"E" + struct.pack("!I", len(fields) + 4) + fields)
            return
        at, server, welcome = await self._connect(startup)
        await client.send(welcome)
        sent: asyncio.Queue[bytes] = asyncio.Queue()
        listening = asyncio.create_task(_listen(client, sent))
        try:
            while True:
                if self._by == "transaction":
                    self._idle[at, startup].append(server)
                message = await sent.get()
                if self._by == "transaction":
                    at, server = await self._take(startup)
                try:
                    await _transaction(client, sent, server, message)
                except BaseException:
                    server.writer.transport.abort()
                    raise
        finally:
            if self._by == "connection":
                server.writer.transport.abort()
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _take(self, startup: bytes) -> tuple[int, _Link]:
        at = self._chance.choice(self._ports)
        if idle := self._idle[at, startup]:
            return at, idle.pop()
        at, server, _ = await self._connect(startup, at)
        return at, server

    async def _connect(self, startup: bytes, at: int | None = None) -> tuple[int, _Link, bytes]:
        at = self._chance.choice(self._ports) if at is None else at
        server = _Link(*await asyncio.open_connection("127.0.0.1", at))
        await server.send(startup)
        welcome = b""
        while True:
            message = await server.message()
            welcome += message
            if message[:1] in (b"Z", b"E"):
                return at, server, welcome


async def _startup(client: _Link) -> bytes:
    while True:
        head = await client.reader.readexactly(8)
        length, code = struct.unpack("!II", head)
        rest = await client.reader.readexactly(length - 8)
        if code in _NO_ENCRYPTION:
            await client.send(b"N")
        elif code == _CANCEL:
            raise ConnectionAbortedError("no statement is cancelled here")
        else:
            return head + rest


def _parameters(startup: bytes) -> set[str]:
    return {name.decode() for name in startup[8:].split(b"\0")[:-2:2]}


async def _listen(client: _Link, sent: "asyncio.Queue[bytes]") -> None:
    """Take in what a client sends; one that goes away says goodbye in its way."""
    try:
        while True:
            sent.put_nowait(await client.message())
    except (OSError, asyncio.IncompleteReadError):
        sent.put_nowait(b"X\0\0\0\4")


async def _transaction(
    client: _Link, sent: "asyncio.Queue[bytes]", server: _Link, first: bytes
) -> None:
    """Pass on what both say, until the server is in no transaction any more."""

    async def forward(message: bytes) -> None:
        while True:
            await server.send(message)
            if message[:1] == b"X":
                raise ConnectionAbortedError("the client has said goodbye")
            message = await sent.get()

    async def answer() -> None:
        while True:
            message = await server.message()
            await client.send(message)
            if message[:1] == b"Z" and message[5:6] == b"I":
                return

    ways = [asyncio.create_task(way) for way in (forward(first), answer())]
    try:
        done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in done:
            way.result()
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
