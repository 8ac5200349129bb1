"""How the servers of a `Database` are made from what the user gives."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from inspect import signature
from typing import Any, Final

from sqlalchemy import URL, Pool, StaticPool, make_url
from sqlalchemy.exc import ArgumentError

from orm._given import instance, mapping
from orm.backends import Backend, EmbeddedReplica
from orm.backends.address import checked
from orm.exceptions import ConfigurationError
from orm.servers.cluster import refuse_autocommit
from orm.servers.naming import name_of
from orm.servers.replica import Replica
from orm.servers.server import Role, Server
from orm.servers.timing import Limits

__all__ = ["Maker", "parse_url"]

_OPTIONS: Final = "a dict of options of create_async_engine"
_OURS: Final = frozenset(signature(Server).parameters)
"""What a server takes besides: they are said otherwise."""

_MOST_EMBEDDED: Final = 64
"""Embedded replicas: each is two threads and a copy of the file. On two cores 64 of them start in
0.4 s and a commit takes 20 ms; 256 take 7 s, and a commit 370 ms."""


class Maker:
    """Makes servers that are alike but for their place. None is opened yet.

    Args:
        backend: their engine family.
        primary: the server that is given as the primary.
        shared: whether each transaction may be on another server behind a URL.
        limits: how long they may take.
        options: for the engines that serve sessions.

    Raises:
        ConfigurationError: the options would give several sessions one transaction, or none; or
            they are none of an engine's; or nothing can be written at the primary.
    """

    def __init__(
        self,
        backend: Backend,
        primary: Replica,
        *,
        shared: bool,
        limits: Limits,
        options: Mapping[Any, Any],
    ) -> None:
        mapping("engine_options", options, _OPTIONS)
        execution = options.get("execution_options", {})
        mapping("execution_options in engine_options", execution, "a dict")
        refuse_autocommit({**options, **execution})
        pool = options.get("poolclass", Pool)
        if issubclass(instance("poolclass in engine_options", pool, type, "a class"), StaticPool):
            raise ConfigurationError(
                "StaticPool gives all sessions one connection, and so one transaction: leave "
                "poolclass out, or use NullPool"
            )
        self._backend = backend
        self._primary = parse_url(primary.url)
        if taken := [key for key in options if not isinstance(key, str) or key in _OURS]:
            raise ConfigurationError(
                f"{taken[0]!r} in engine_options is no option of create_async_engine"
            )
        self._new = partial(Server, backend=backend, shared=shared, limits=limits, **options)
        self.primary: Final[Server] = self._server(primary, "primary", ())
        """The server that is given as the primary."""
        self.primary.writer  # noqa: B018 - made at once, so that a wrong place is refused at once

    def _server(self, given: Replica, role: Role, taken: Collection[str]) -> Server:
        url = parse_url(given.url)
        name = given.name or name_of(url, role, taken)
        try:
            return self._new(name=name, role=role, url=url, zone=given.zone, weight=given.weight)
        except TypeError as error:  # SQLAlchemy's, of a name or a value
            raise ConfigurationError(f"engine_options: {error}") from error

    def replica(self, given: str | URL | Replica, beside: Collection[Server]) -> Server:
        """A replica on a server.

        Args:
            given: where it is.
            beside: the other replicas, whose names it does not get.

        Raises:
            ConfigurationError: it is of another engine family than the primary, or the URL is none.
        """
        one = given if isinstance(given, Replica) else Replica(given)
        if parse_url(one.url).get_backend_name() != self._primary.get_backend_name():
            raise ConfigurationError("the primary and its replicas are of one engine family")
        return self._server(one, "replica", {server.name for server in (self.primary, *beside)})

    def replicas(self, given: Iterable[str | URL | Replica]) -> list[Server]:
        """Several replicas.

        Raises:
            ConfigurationError: as `replica`; or two servers have one name.
        """
        made: list[Server] = []
        for one in given:
            server = self.replica(one, made)
            if server.name in {other.name for other in (self.primary, *made)}:
                raise ConfigurationError(f"two servers are named {server.name!r}")
            made.append(server)
        return made

    def embedded(
        self, count: int, landed: Callable[[int], None]
    ) -> Sequence[tuple[Server, EmbeddedReplica]]:
        """Embedded replicas.

        Args:
            count: how many.
            landed: called in a replica's thread, with its index, each time that it has moved.

        Raises:
            ConfigurationError: the engine replicates by itself; or they are too many.
        """
        embedded = self._backend.embedded
        if embedded is None:
            if not count:
                return []
            raise ConfigurationError(
                f"{self._primary.get_backend_name()} replicates by itself: give its replicas' "
                f"URLs, as in replicas=['{self._primary.drivername}://replica-1/app']"
            )
        if count > _MOST_EMBEDDED:
            raise ConfigurationError(
                f"replicas is {_MOST_EMBEDDED} at most, and not {count}: each is a copy of the "
                "database, which a thread of this process keeps up to date"
            )
        made: list[tuple[Server, EmbeddedReplica]] = []
        for index in range(count):
            beside = [server for server, _ in made]
            server = self.replica(embedded.url(self._primary, index + 1), beside)
            keeper = embedded.replica(self._primary, index + 1, partial(landed, index))
            server.on_damage = keeper.rebuild
            made.append((server, keeper))
        return made


def parse_url(given: str | URL) -> URL:
    """A URL.

    Raises:
        ConfigurationError: it is none, or leads nowhere.
    """
    try:
        return checked(make_url(given))
    except (ArgumentError, ValueError) as error:  # the second of a port that is no number
        raise ConfigurationError(f"not a database URL: {error}") from error
