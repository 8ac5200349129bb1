"""psycopg connections whose COMMIT brings the position after it along, in the same round trip."""

from typing import Any, Final

from psycopg import AsyncConnection, Connection
from psycopg.pq import TransactionStatus

from orm.backends.postgresql.position import COMMITTED

__all__ = ["SamplingConnection", "SyncSamplingConnection"]

# Without parameters a message may hold several statements; those after COMMIT are no part of the
# transaction (PostgreSQL "Multiple Statements in a Simple Query").
_COMMIT: Final = f"COMMIT; {COMMITTED}".encode()


class SamplingConnection(AsyncConnection[Any]):
    """A connection that knows where its latest commit is."""

    sampled: tuple[Any, ...] | None = None
    """What `COMMITTED` said after the latest `commit`; None if that sent nothing."""

    async def commit(self) -> None:
        """Commit.

        Raises:
            psycopg.Error: the server refused, or whether it has committed is not known.
        """
        self.sampled = None
        if self.info.transaction_status != TransactionStatus.INTRANS:
            await super().commit()
            return
        cursor = await self.execute(_COMMIT, prepare=False)
        cursor.nextset()
        self.sampled = await cursor.fetchone()


class SyncSamplingConnection(Connection[Any]):
    """The same without an event loop, for migrations."""

    sampled: tuple[Any, ...] | None = None

    def commit(self) -> None:
        self.sampled = None
        if self.info.transaction_status != TransactionStatus.INTRANS:
            super().commit()
            return
        cursor = self.execute(_COMMIT, prepare=False)
        cursor.nextset()
        self.sampled = cursor.fetchone()
