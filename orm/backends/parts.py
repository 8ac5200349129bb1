"""The optional parts of a backend that sessions use: network, roles, fences, embedded replicas."""

from collections.abc import Callable, Sequence
from typing import Protocol

from sqlalchemy import URL, Connection
from sqlalchemy.engine.interfaces import DBAPIConnection

from orm.bookmark import Bookmark

__all__ = ["EmbeddedReplica", "EmbeddedReplicas", "Fences", "Network", "Roles"]


class Network(Protocol):
    """For engines whose servers are reached by a network: a server can stop answering."""

    def hang_up(self, connection: DBAPIConnection) -> None:
        """Cut a connection off, at once and without I/O; it may be cut off already.

        What is in flight on it fails, as if the server had closed the connection: its error is one
        of those that `Backend.is_unavailable` knows.

        Args:
            connection: SQLAlchemy's, over the driver's. A task may wait for its answer.
        """
        ...


class Roles(Protocol):
    """Failover: servers say what they are, and positions say which primary they come from.

    All but `is_standby` and `is_candidate` are pure functions of positions.
    """

    def is_standby(self, connection: Connection) -> bool | None:
        """Whether the server called itself a replica when `Backend.position` was last asked.

        None before that. No I/O.
        """
        ...

    def is_candidate(self, connection: Connection) -> bool:
        """Whether the server takes writes, follows none, and is not the primary by its position.

        `is_standby` says True of such a server. It is the next primary as soon as the primary
        cannot be reached, or is a replica: the library calls `Backend.prepare` for it, and its
        position says so from then on. False for an engine whose promotion does that by itself.
        No I/O.
        """
        ...

    def is_later(self, at: Bookmark, than: Bookmark) -> bool:
        """Whether the primary at `at` was promoted after the primary at `than`."""
        ...

    def lost(self, head: Bookmark, need: Bookmark) -> str | None:
        """Why a server that is at `head` will never have all of `need`.

        Args:
            head: where the server is.
            need: of the same history.

        Returns:
            The reason, for people. None if it may have it later, as far as the two tell.
        """
        ...

    def as_need(self, at: Bookmark) -> Bookmark:
        """Shorten a primary's position to what a bookmark has to name.

        A server that covers the result has all of `at`.
        """
        ...

    def without_oldest(self, need: Bookmark) -> Bookmark:
        """Leave out of a bookmark what would let it grow with each failover for ever.

        Args:
            need: all of which a server was known to have.

        Returns:
            A bookmark that the same servers cover, and that names the same writes as lost.
        """
        ...


class Fences(Protocol):
    """For engines whose replicas may show a commit before the primary does.

    `Backend.seen` on a replica says what it has `shown` (`orm.Bookmark`): a number below which
    transactions may have been seen. A transaction that goes on to the primary waits until the
    primary shows them.
    """

    def hidden(self, connection: Connection, shown: int) -> frozenset[int]:
        """The transactions that a replica may have shown, and the primary does not show yet.

        Args:
            connection: to the primary.
            shown: of a `Bookmark`.
        """
        ...

    def shown(self, connection: Connection, hidden: frozenset[int]) -> frozenset[int]:
        """The transactions of `hidden` that a replica shows by now; the others are still under way.

        Args:
            connection: to the replica.
            hidden: what the primary does not show.
        """
        ...

    def ending(self, connection: Connection, hidden: frozenset[int]) -> frozenset[int]:
        """The transactions of `hidden` that may have committed, and wait for a synchronous replica.

        A commit that waits for no replica is shown at once, and need not be among them.

        Args:
            connection: to the primary.
            hidden: what the primary does not show.
        """
        ...


class EmbeddedReplica(Protocol):
    """Keeps one embedded replica up to date, in a thread of its own. All methods may block."""

    def start(self) -> None:
        """Begin, and return when there is a replica to read.

        Raises:
            ReplicaUnavailable: there is none, and none can be made.
        """
        ...

    def stop(self) -> None:
        """End the thread. Does nothing when it does not run.

        Raises:
            ReplicaUnavailable: the thread does not end.
        """
        ...

    def wake(self) -> None:
        """Look now: the primary has just committed. Does not block."""
        ...

    def reached(self) -> tuple[str, Bookmark] | None:
        """How far it has brought the replica: what readers of it see at least. No I/O.

        Returns:
            The replica's `Backend.incarnation`, and its position. None if the latest move was
            another process's, or there was none: the replica itself is asked then.
        """
        ...

    def rebuild(self) -> None:
        """Make the replica anew: a reader found it damaged. Does not block."""
        ...


class EmbeddedReplicas(Protocol):
    """Replicas that the library itself makes and keeps up to date, beside the primary."""

    def url(self, primary: URL, number: int) -> URL:
        """The URL by which readers open the replica of a number, from 1 up.

        Raises:
            ConfigurationError: this primary cannot have embedded replicas.
        """
        ...

    def present(self, primary: URL) -> Sequence[URL]:
        """The URLs by which readers open the replicas that exist.

        Raises:
            ConfigurationError: this primary cannot have embedded replicas.
        """
        ...

    def replica(self, primary: URL, number: int, landed: Callable[[], None]) -> EmbeddedReplica:
        """Make the keeper of the replica of a number, from 1 up. Nothing is opened yet.

        Args:
            primary: what is replicated.
            number: which replica.
            landed: called in the replica's thread each time that the replica has moved; to be
                quick.

        Raises:
            ConfigurationError: this primary cannot have embedded replicas.
        """
        ...
