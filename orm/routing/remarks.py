"""Remarks on errors of the database and of SQLAlchemy: what this library knows of them."""

from typing import Final

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orm.routing.decision import counted
from orm.servers.cluster import Cluster
from orm.servers.server import Server

__all__ = ["remark"]

_HELD: Final = (
    "Other sessions hold the connections. What may write (all text, too) keeps the primary's until "
    "its transaction ends: end it before another session writes in the same task, and mark plain "
    "reads with execution_options(route='read')."
)
_CROWDED: Final = (
    "Other sessions hold the connections for reads, each until its transaction ends. If that many "
    "are needed at once, give engine_options={'pool_size': …} a larger number."
)
_NOT_MIGRATED: Final = "Has this database been migrated?"
_APPLY: Final = " Run: orm migrations apply --local, or orm migrations apply --remote"
_WAIT: Final = (
    " Migrations wait for the replicas by orm migrations apply --remote --wait; what the primary "
    "has, orm migrations list --remote says."
)


def remark(error: Exception, cluster: Cluster, server: Server | None, *, writes: bool) -> None:
    """Add a note to an error that a program has to do something about.

    Args:
        error: what a statement has failed with.
        cluster: the servers.
        server: the one that the transaction reads from; None if there is none, or it has moved to
            the primary.
        writes: whether the transaction may write.
    """
    note = None
    if isinstance(error, PoolTimeout):
        note = _HELD if writes else _CROWDED
    elif isinstance(error, DBAPIError) and cluster.backend.is_missing(error):
        replica = server is not None and server.role == "replica"
        note = _behind(cluster, server) if replica and server is not None else _NOT_MIGRATED
        if cluster.backend.migrations is not None:
            note += _WAIT if replica else _APPLY
    if note is not None and note not in getattr(error, "__notes__", ()):
        error.add_note(note)


def _behind(cluster: Cluster, replica: Server) -> str:
    head = cluster.primary.knowledge.at
    behind = None if head is None else replica.behind(head)
    how_far = f"is {counted(behind, replica.unit)}" if behind else "may be"
    return (
        f"{replica.name} has answered, which {how_far} behind the primary, so it may lack what the "
        "latest migration has added. Start the session from a bookmark or 'first-primary', if the "
        "primary has been migrated."
    )
