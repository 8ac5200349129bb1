"""One transaction of a session, as the library sees it."""

from asyncio import CancelledError
from typing import Any

from sqlalchemy import Connection, Result
from sqlalchemy.exc import DBAPIError

from orm.servers.server import Server

__all__ = ["Transaction"]


class Transaction:
    """One transaction, from its first statement until it ends.

    The initial values are the class's: most transactions are one read, which sets three of them.
    """

    writes: bool = False
    """Whether it may write, and so runs on the primary."""
    read_only: bool = False
    """Whether it was begun read-only."""
    routed: bool = False
    """Whether it was told to go to the primary."""
    fenced_epoch: int | None = None
    """The epoch whose primary is known to have, and show, all that the session has seen."""
    server: Server | None = None
    """The server that it reads from while it does not write."""
    connection: Connection | None = None
    """The connection to `server` that it reads on."""
    sent: float | None = None
    """When its first read was sent, on the event loop's clock; None once it is answered."""
    writer: Connection | None = None
    """The connection to the primary that it writes on."""
    wrote: bool = False
    """Whether it has changed rows for certain."""
    answered: bool = False
    """Whether one of its statements has succeeded."""
    opening: bool = False
    """Whether a task is finding the server to read from now."""
    lent: bool = False
    """Whether the caller has a connection of it, on which statements are sent unseen."""
    has_guest: bool = False
    """Whether it has a connection that the caller has named in ``bind_arguments``."""
    streams: tuple[Result[Any], ...] = ()
    """Results whose rows are still to be fetched."""
    held: tuple[Connection, ...] = ()
    """All connections that it has read from."""
    cut_off: CancelledError | None = None
    """The cancellation that came after its COMMIT; it is raised when the transaction ends."""
    renewed: bool = False
    """Whether its connection has let go of what it kept of an earlier schema."""
    lost: tuple[Server, ...] = ()
    """Servers to which it has lost a connection; see `loses`."""
    failed: tuple[Server, ...] = ()
    """Servers that it does not read from again."""

    def loses(self, server: Server, error: Exception) -> bool:
        """Whether an error ended a connection to a server, for the first time.

        It may be that connection alone, which a firewall or a restart ended while it was idle; all
        others that are as old are not used again. So the next one is a new one.
        """
        ended = isinstance(error, DBAPIError) and error.connection_invalidated
        if not ended or server in self.lost:
            return False
        self.lost += (server,)
        return True

    def pin(self, server: Server, connection: Connection) -> None:
        """Read from a server from now on."""
        self.server, self.connection = server, connection
        self.held += (connection,)
