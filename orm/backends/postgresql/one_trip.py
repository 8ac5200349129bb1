"""psycopg connections whose COMMIT brings the position after it along, in the same round trip."""

from typing import Any, Final

from psycopg import AsyncConnection, generators
from psycopg.abc import PQGen
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult

from orm.backends.postgresql.position import COMMITTED

__all__ = ["SamplingConnection"]

# Without parameters a message may hold several statements; those after COMMIT are no part of the
# transaction (PostgreSQL "Multiple Statements in a Simple Query").
_COMMIT: Final = f"COMMIT; {COMMITTED}".encode()


class SamplingConnection(AsyncConnection[Any]):
    """A connection that knows where its latest commit is."""

    sampled: tuple[str, ...] | None = None
    """What `COMMITTED` said after the latest `commit`; None if that sent nothing."""

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
            committed, *samples = await self.wait(self._commit_and_sample())
        if committed.status != ExecStatus.COMMAND_OK:
            raise error_from_result(committed, encoding=self.info.encoding)
        for sample in samples:  # without one, somebody asks again
            if sample.status == ExecStatus.TUPLES_OK and sample.ntuples:
                values = (sample.get_value(0, column) for column in range(sample.nfields))
                self.sampled = tuple(bytes(value or b"").decode() for value in values)

    def _commit_and_sample(self) -> PQGen[list[PGresult]]:
        # By libpq itself: a cursor, which can do a hundred other things, takes half as long again.
        self.pgconn.send_query(_COMMIT)
        results: list[PGresult] = yield from generators.execute(self.pgconn)
        return results
