"""A statement has failed: what the error says of its server, and whether it is sent again."""

from sqlalchemy.exc import DBAPIError

from orm.exceptions import ReadOnlyError
from orm.routing.memory import SessionMemory
from orm.routing.transaction import Transaction
from orm.servers.cluster import Cluster

__all__ = ["read_on", "serve_again"]


def serve_again(
    error: DBAPIError, transaction: Transaction, memory: SessionMemory, cluster: Cluster
) -> bool:
    """Whether a statement that failed may be sent again, to another server perhaps.

    Args:
        error: what it failed with.
        transaction: that of the statement. If another server may serve it, the transaction no
            longer has a connection for reads.
        memory: what the session has seen.
        cluster: the servers; one that is away serves no session from now on.

    Raises:
        ReadOnlyError: it has tried to write on a read-only server.
    """
    backend, server = cluster.backend, transaction.server
    if transaction.writes or server is None or server.role == "primary":
        _on_primary(error, transaction, cluster)
    if transaction.connection is None or server is None or transaction.writes:
        return False
    if backend.is_read_only(error):
        raise ReadOnlyError(
            "the statement writes, and was sent to a read-only server because its transaction "
            "is read-only or it is marked route='read'"
        ) from error
    if not transaction.renewed and backend.renew(transaction.connection, error):
        transaction.renewed = True  # if it fails again, the reason is another
        return True
    if not backend.is_unavailable(error):
        return False
    if transaction.read_only and transaction.answered:
        return False  # its snapshot is gone, and no other server has the same
    if not transaction.answered:
        memory.saw_nothing()
    lost = transaction.loses(server, error)
    if server.role == "primary" and not lost:
        return False
    if not transaction.streams:  # else the next fetch of a stream raises the driver's error
        transaction.connection.invalidate(error)  # another read may need its place in the pool
    if not lost:
        server.fail(error)
        transaction.failed += (server,)
    transaction.connection = transaction.server = None
    return True


def read_on(
    error: DBAPIError, transaction: Transaction, memory: SessionMemory, cluster: Cluster
) -> None:
    """Have the next read of a transaction take another connection, if its own is lost.

    Args:
        error: what the library's own question on that connection failed with.
        transaction: the one that was asked about. If it is read-only it keeps the lost connection,
            and its next read fails: no other server has its snapshot.
        memory: what the session has seen.
        cluster: the servers; one that is away serves no session from now on.
    """
    connection = transaction.connection
    if serve_again(error, transaction, memory, cluster) or connection is None:
        return
    if connection.invalidated and not transaction.read_only:  # the primary's, once more
        transaction.connection = transaction.server = None


def _on_primary(error: DBAPIError, transaction: Transaction, cluster: Cluster) -> None:
    """Have the servers asked if another one may be the primary by now."""
    is_read_only = cluster.backend.is_read_only(error)
    if cluster.backend.is_unavailable(error) or (transaction.writes and is_read_only):
        cluster.watcher.nudge()
    if transaction.writer is not None and is_read_only:
        transaction.writer.invalidate(error)
        error.add_note(
            "The server is a standby: the primary has changed. Try the transaction again."
        )
