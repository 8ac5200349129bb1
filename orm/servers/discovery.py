"""Replicas that come and go while a `Database` runs, as the application or DNS says."""

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from inspect import isawaitable
from typing import Final, Protocol, TypeAlias

from sqlalchemy import URL

from orm.exceptions import ConfigurationError
from orm.servers.making import parse_url
from orm.servers.replica import Replica
from orm.servers.timing import DISCOVERY, DISCOVERY_TIMEOUT, MISSES

__all__ = ["Discover", "Discovery", "by_dns"]

_log = logging.getLogger("orm.discovery")

Discover: TypeAlias = Callable[[], Awaitable[Iterable[str | URL | Replica]]]
"""Says which replicas there are now: an asynchronous function without arguments."""

_FAILS: Final = "the replicas cannot be looked up, and stay as they are: %s"


def by_dns(url: str | URL) -> Discover:
    """Look up replicas by a DNS name: one at each of its addresses.

    Args:
        url: of a replica, with the name as its host.

    Returns:
        What `orm.Database` takes as its ``replicas``.

    Raises:
        ConfigurationError: it is no URL with a host.
    """
    parsed = parse_url(url)
    if not parsed.host:
        raise ConfigurationError(
            f"by_dns looks up the host of a URL, and {parsed.render_as_string()} has none"
        )

    async def discover() -> list[Replica]:
        found = await asyncio.get_running_loop().getaddrinfo(
            parsed.host, parsed.port, type=socket.SOCK_STREAM
        )
        addresses = dict.fromkeys(str(address[0]) for *_, address in found)
        return [Replica(parsed.set(host=address)) for address in addresses]

    return discover


class _Changes(Protocol):
    async def add_replica(self, replica: Replica) -> str: ...
    async def remove_replica(self, name: str) -> None: ...


class Discovery:
    """Asks at intervals which replicas there are, and follows.

    A replica that is missing from one answer alone stays: DNS, for one, flaps. So do all of them
    while no answer comes.

    Args:
        discover: what to ask.
        changes: adds and removes them.
        primary: where the server is that was given as the primary, and its name: it may become a
            replica.
    """

    def __init__(self, discover: Discover, changes: _Changes, primary: tuple[URL, str]) -> None:
        self._discover = discover
        self._changes = changes
        self._names: dict[URL, str] = dict([primary])
        self._missed: Counter[URL] = Counter()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look once, and go on in a task.

        Raises:
            ConfigurationError: the function is not asynchronous.
        """
        await self._look()
        self._task = asyncio.create_task(self._run(), name="orm looks for replicas")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(DISCOVERY)
            await self._look()

    async def _look(self) -> None:
        found: list[Replica] | None = None
        try:
            asked = self._discover()
            if isawaitable(asked):
                async with asyncio.timeout(DISCOVERY_TIMEOUT):
                    found = [_replica(one) for one in await asked]
        except Exception as error:  # noqa: BLE001 - it is the user's function
            _log.warning(_FAILS, str(error) or type(error).__name__)
            return
        if found is None:
            raise ConfigurationError(
                f"replicas is asked as an asynchronous function, and {self._discover!r} is none: "
                "async def replicas(): …"
            )
        there = {parse_url(one.url): one for one in found}
        for url in [url for url in there if url not in self._names]:
            try:
                self._names[url] = await self._changes.add_replica(there[url])
            except ConfigurationError as error:
                _log.warning("a replica that was looked up is not used: %s", error)
        for url, name in list(self._names.items()):
            self._missed[url] = 0 if url in there else self._missed[url] + 1
            if self._missed[url] >= MISSES:
                with suppress(ConfigurationError):  # it is the primary
                    await self._changes.remove_replica(name)
                    del self._names[url], self._missed[url]


def _replica(given: str | URL | Replica) -> Replica:
    return given if isinstance(given, Replica) else Replica(given)
