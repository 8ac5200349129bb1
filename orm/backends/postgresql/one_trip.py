"""psycopg connections whose COMMIT asks for the position after it, in the same round trip."""

from typing import Any, Final

from psycopg import AsyncConnection, Connection, generators
from psycopg.abc import PQGen
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, PipelineStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

from orm.backends.postgresql.position import COMMITTED

__all__ = ["SamplingConnection", "SyncSamplingConnection"]

# Without parameters a message may hold several statements; those after COMMIT are no part of the
# transaction (PostgreSQL "Multiple Statements in a Simple Query").
_FIRST: Final = f"COMMIT; PREPARE orm_committed AS {COMMITTED}; EXECUTE orm_committed".encode()
_LATER: Final = b"COMMIT; EXECUTE orm_committed"


class _Sampling:
    """The common part of both kinds of connection.

    A transaction can end in many ways, and only one of them samples. So a sample lasts until the
    connection sends something else, whatever that is: psycopg sends all of it through `wait`.
    """

    pgconn: PGconn
    _sampled: tuple[str, ...] | None = None
    _samples_prepared = False

    def take_sample(self) -> tuple[str, ...] | None:
        """Return the answer of `COMMITTED` once; None if another statement was sent since."""
        sampled, self._sampled = self._sampled, None
        return sampled

    def _may_sample(self) -> bool:
        """Whether a COMMIT would end a transaction, rather than nothing or a failed one."""
        self._sampled = None
        return (
            self.pgconn.transaction_status == TransactionStatus.INTRANS
            and self.pgconn.pipeline_status == PipelineStatus.OFF  # else nothing may follow COMMIT
        )

    def _commit_and_sample(self) -> PQGen[list[PGresult]]:
        # By libpq itself: a cursor, which can do a hundred other things, takes half as long again.
        self.pgconn.send_query(_LATER if self._samples_prepared else _FIRST)
        results: list[PGresult] = yield from generators.execute(self.pgconn)
        return results

    def _take(self, results: list[PGresult], encoding: str) -> None:
        committed, sample = results[0], results[-1]
        if committed.status != ExecStatus.COMMAND_OK:
            raise error_from_result(committed, encoding=encoding)
        # If the rest fails, the commit stands, and the position can be asked for.
        # It is gone if the session has deallocated it, by DISCARD ALL for example.
        self._samples_prepared = sample.status == ExecStatus.TUPLES_OK
        if sample.ntuples:
            values = (sample.get_value(0, column) for column in range(sample.nfields))
            self._sampled = tuple(bytes(value or b"").decode() for value in values)


class SamplingConnection(_Sampling, AsyncConnection[Any]):
    """A connection that knows the position of its latest commit."""

    async def wait(self, *generator_and_times: Any, **times: Any) -> Any:
        self._sampled = None
        return await super().wait(*generator_and_times, **times)

    async def commit(self) -> None:
        """Commit.

        Raises:
            psycopg.Error: the server refused, or whether it has committed is not known.
        """
        if not self._may_sample():
            await super().commit()
            return
        async with self.lock:
            results = await self.wait(self._commit_and_sample())
        self._take(results, self.info.encoding)


class SyncSamplingConnection(_Sampling, Connection[Any]):
    """The same without an event loop, for migrations."""

    def wait(self, *generator_and_times: Any, **times: Any) -> Any:
        self._sampled = None
        return super().wait(*generator_and_times, **times)

    def commit(self) -> None:
        if not self._may_sample():
            super().commit()
            return
        with self.lock:
            results = self.wait(self._commit_and_sample())
        self._take(results, self.info.encoding)
