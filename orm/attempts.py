"""Transactions that are tried again: which errors allow it, how often, and after which pauses."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from random import uniform
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError, InvalidRequestError

from orm.backends import Backend
from orm.exceptions import ConfigurationError, OrmError
from orm.servers.timing import AGAIN
from orm.session import BookmarkSession

__all__ = ["Attempt", "try_again"]

_T = TypeVar("_T")

_log = logging.getLogger(__name__)

_UNKNOWN: Final = (
    "The connection was lost in COMMIT: the transaction may have been committed, and was not tried "
    "again. Look whether what it wrote is there. If it may be done twice, say idempotent=True."
)


class Attempt:
    """One run of a transaction, and what has become of it.

    Args:
        backend: knows what errors mean.
        again: whether the transaction may be done again after it may have been committed.
    """

    def __init__(self, backend: Backend, *, again: bool) -> None:
        self._backend = backend
        self._again = again
        self._begun = False
        self._commit_sent = False
        self._committed = False

    async def make(
        self,
        session: BookmarkSession,
        work: Callable[[BookmarkSession], Awaitable[_T]],
        *,
        read_only: bool,
    ) -> _T:
        """Do the work in one transaction of a new session."""
        sync = session.sync_session
        event.listen(sync, "after_begin", self._has_connection)
        try:
            async with session.begin(read_only=read_only):
                await session.connection()  # so that errors of connecting are not the work's own
                self._begun = True
                return await _called(work, session)
        finally:
            self._committed = session.has_committed
            event.remove(sync, "after_begin", self._has_connection)

    def _has_connection(self, _session: Any, _transaction: Any, connection: Connection) -> None:
        for name in ("commit", "prepare_twophase", "commit_twophase"):
            event.listen(connection, name, self._sends_commit)

    def _sends_commit(self, *_: Any) -> None:
        self._commit_sent = True

    def may_be_repeated(self, error: Exception) -> bool:
        """Whether the error allows another attempt: it may help, and does nothing twice.

        An error after which it is not known whether the transaction was committed gets a note.
        """
        if self._committed:
            return False
        if isinstance(error, OrmError):
            return error.retryable
        if self.met_another(error):
            return True
        if not self._is_lost(error):
            return False
        if self._commit_sent and not self._again:
            error.add_note(_UNKNOWN)
            return False
        return True

    def met_another(self, error: Exception) -> bool:
        """Whether the error says that the transaction was in conflict with another one."""
        return isinstance(error, DBAPIError) and self._backend.is_retryable(error)

    def _is_lost(self, error: Exception) -> bool:
        """Whether the error says that the server or the connection was lost, or the role."""
        if not self._begun:
            # The pool's, see `CANNOT_CONNECT`, or a connection that was lost while it was new.
            return isinstance(error, InvalidRequestError) or self._is_unavailable(error)
        if self._commit_sent and isinstance(error, OSError):  # TimeoutError is one
            return True
        return self._is_unavailable(error)

    def _is_unavailable(self, error: Exception) -> bool:
        backend = self._backend
        return isinstance(error, DBAPIError) and (
            backend.is_unavailable(error)
            or (backend.roles is not None and backend.is_read_only(error))  # a standby by now
        )


async def _called(work: Callable[[BookmarkSession], Awaitable[_T]], session: BookmarkSession) -> _T:
    given: Any = work  # the program's types may be unchecked
    begun: Any = given(session) if callable(given) else None
    if not isawaitable(begun):
        raise ConfigurationError(
            f"the work is an asynchronous function, which is called with the session, and {work!r} "
            "is none: async def work(session): …. Give run the function, and do not call it"
        )
    result: _T = await begun
    return result


async def try_again(
    once: Callable[[Attempt], Awaitable[_T]], backend: Backend, *, again: bool, seconds: float
) -> _T:
    """Make attempts until one succeeds, or fails for good, or the time is over.

    The pauses double, and are drawn at random below that: transactions that met in a conflict do
    not meet again.

    Args:
        once: makes one attempt.
        backend: knows what errors mean.
        again: whether the transaction may be done again after it may have been committed.
        seconds: no attempt begins later than that. None is cut off by it.
    """
    loop = asyncio.get_running_loop()
    begun, number, longest = loop.time(), 1, 0.0
    while True:
        attempt = Attempt(backend, again=again)
        try:
            return await once(attempt)
        except Exception as error:
            if not attempt.may_be_repeated(error):
                raise
            longest = AGAIN.after(longest)
            pause = uniform(0, longest)
            took = loop.time() - begun
            if took + pause > seconds:
                error.add_note(f"It was tried {number} time(s) in {took:.1f} s (retry_for).")
                raise
            # Of a server that is away, `orm.server` tells once, and not for each transaction.
            _log.log(
                logging.INFO if attempt.met_another(error) else logging.DEBUG,
                "a transaction is tried again in %.3f s, after attempt %d: %s",
                pause,
                number,
                error,
                extra={"attempt": number, "error": str(error)},
            )
        await asyncio.sleep(pause)
        number += 1
