"""psycopg connections whose COMMIT brings the position after it along, in the same round trip."""

from typing import Any, Final

from psycopg import AsyncConnection, Connection, generators
from psycopg.abc import PQGen
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

from orm.backends.postgresql.position import COMMITTED

__all__ = ["SamplingConnection", "SyncSamplingConnection"]

# Without parameters a message may hold several statements; those after COMMIT are no part of the
# transaction (PostgreSQL "Multiple Statements in a Simple Query").
_COMMIT: Final = f"COMMIT; {COMMITTED}".encode()


class SamplingConnection(AsyncConnection[Any]):
    """A connection that knows where its latest commit is."""

    sampled: tuple[str, ...] | None = None
    """What `COMMITTED` said after the latest `commit`; None if nothing was said."""

    async def commit(self) -> None:
        """Commit.

        Raises:
            psycopg.Error: the server refused, or whether it has committed is not known.
        """
        self.sampled = None
        if self.pgconn.transaction_status != TransactionStatus.INTRANS:
            await super().commit()
            return
        async with self.lock:
            results = await self.wait(_commit_and_sample(self.pgconn))
        self.sampled = _sample(results, self.info.encoding)


class SyncSamplingConnection(Connection[Any]):
    """The same without an event loop, for migrations."""

    sampled: tuple[str, ...] | None = None

    def commit(self) -> None:
        self.sampled = None
        if self.pgconn.transaction_status != TransactionStatus.INTRANS:
            super().commit()
            return
        with self.lock:
            results = self.wait(_commit_and_sample(self.pgconn))
        self.sampled = _sample(results, self.info.encoding)


def _commit_and_sample(connection: PGconn) -> PQGen[list[PGresult]]:
    # By libpq itself: a cursor, which can do a hundred other things, takes half as long again.
    connection.send_query(_COMMIT)
    results: list[PGresult] = yield from generators.execute(connection)
    return results


def _sample(results: list[PGresult], encoding: str) -> tuple[str, ...] | None:
    committed, *samples = results
    if committed.status != ExecStatus.COMMAND_OK:
        raise error_from_result(committed, encoding=encoding)
    for sample in samples:
        if sample.status == ExecStatus.TUPLES_OK and sample.ntuples:
            values = (sample.get_value(0, column) for column in range(sample.nfields))
            return tuple(bytes(value or b"").decode() for value in values)
    return None  # the commit stands all the same, and somebody asks again
