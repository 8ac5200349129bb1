"""How the servers of a `Database` are made from what the user gives."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from sqlalchemy import URL, Pool, StaticPool, make_url
from sqlalchemy.exc import ArgumentError

from orm.backends import Backend, EmbeddedReplica
from orm.exceptions import ConfigurationError
from orm.servers.cluster import refuse_autocommit
from orm.servers.replica import Replica
from orm.servers.server import Server
from orm.servers.timing import Limits

__all__ = ["Maker", "parse_url"]


class Maker:
    """Makes servers that are alike but for their place. None is opened yet.

    Args:
        backend: their engine family.
        primary: the primary's URL.
        shared: whether each transaction may be on another server behind a URL.
        limits: how long they may take.
        options: for the engines that serve sessions.

    Raises:
        ConfigurationError: the options would give several sessions one transaction, or none.
    """

    def __init__(
        self, backend: Backend, primary: URL, *, shared: bool, limits: Limits, **options: Any
    ) -> None:
        refuse_autocommit(options | dict(options.get("execution_options", {})))
        if issubclass(options.get("poolclass", Pool), StaticPool):
            raise ConfigurationError(
                "StaticPool gives all sessions one connection, and so one transaction: leave "
                "poolclass out, or use NullPool"
            )
        self._backend = backend
        self._primary = primary
        self._new = partial(Server, backend=backend, shared=shared, limits=limits, **options)
        self._made = 0

    def primary(self) -> Server:
        """The server that is given as the primary.

        Raises:
            ConfigurationError: nothing can be written there.
        """
        server = self._new(name="primary", role="primary", url=self._primary)
        server.writer  # noqa: B018 - made at once, so that a wrong place is refused at once
        return server

    def replica(self, given: str | URL | Replica) -> Server:
        """A replica on a server.

        Raises:
            ConfigurationError: it is of another engine family than the primary, or the URL is none.
        """
        one = given if isinstance(given, Replica) else Replica(given)
        url = parse_url(one.url)
        if url.get_backend_name() != self._primary.get_backend_name():
            raise ConfigurationError("the primary and its replicas are of one engine family")
        self._made += 1
        name = one.name or f"replica-{self._made}"
        return self._new(name=name, role="replica", url=url, zone=one.zone, weight=one.weight)

    def embedded(
        self, count: int, landed: Callable[[int], None]
    ) -> Sequence[tuple[Server, EmbeddedReplica]]:
        """Embedded replicas.

        Args:
            count: how many.
            landed: called in a replica's thread, with its index, each time that it has moved.

        Raises:
            ConfigurationError: the engine replicates by itself.
        """
        if count < 0:
            raise ConfigurationError("replicas is a number, 0 or more, or a list of URLs")
        embedded = self._backend.embedded
        if embedded is None:
            if not count:
                return []
            raise ConfigurationError(
                f"{self._primary.get_backend_name()} replicates by itself: give its replicas' "
                f"URLs, as in replicas=['{self._primary.drivername}://replica-1/app']"
            )
        made = []
        for index in range(count):
            server = self.replica(embedded.url(self._primary, index + 1))
            keeper = embedded.replica(self._primary, index + 1, partial(landed, index))
            server.on_damage = keeper.rebuild
            made.append((server, keeper))
        return made


def parse_url(given: str | URL) -> URL:
    """A URL.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        return make_url(given)
    except ArgumentError as error:
        raise ConfigurationError(f"not a database URL: {error}") from error
