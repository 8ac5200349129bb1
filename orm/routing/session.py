"""The synchronous session behind `BookmarkSession`: SQLAlchemy asks it where a statement goes.

`get_bind()` sees every statement: queries, lazy loads, refreshes, flushes and Core alike.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, CursorResult, Engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import (
    ORMExecuteState,
    Session,
    SessionTransaction,
    SessionTransactionOrigin,
)
from sqlalchemy.sql import ClauseElement

from orm._greenlet import in_greenlet
from orm.exceptions import ConfigurationError
from orm.routing.decision import Reason
from orm.routing.router import Router
from orm.routing.statements import is_plain_read

__all__ = ["DATABASE_OR_BINDS", "RoutedSession"]

_T = TypeVar("_T")

_EXPLAINED: Final = (DBAPIError, PoolTimeout, OSError)
"""The errors of the database, of the pool, and of connecting."""

DATABASE_OR_BINDS: Final = (
    "a session has a Database or binds, not both: for another database make another session"
)


class RoutedSession(Session):
    """The synchronous session behind `BookmarkSession`. Without a router it is a `Session`."""

    router: Router | None = None
    """Decides where its transactions run; set once, before the first of them."""
    _sends: bool = False
    """Whether a statement is about to be sent, so that `get_bind` decides where."""

    # These read first, to learn what to write, and must not learn that from a replica.

    def delete(self, instance: object) -> None:
        self._may_write()
        super().delete(instance)

    def delete_all(self, instances: Iterable[object]) -> None:
        self._may_write()
        super().delete_all(instances)

    def merge(self, instance: _T, **options: Any) -> _T:
        self._may_write()
        return super().merge(instance, **options)

    def merge_all(self, instances: Iterable[_T], **options: Any) -> Any:
        self._may_write()
        return super().merge_all(instances, **options)

    def _may_write(self) -> None:
        if self.router is not None:
            self.router.may_write()

    # Every statement passes one of these; SQLAlchemy does not hand its options to get_bind().

    def execute(self, statement: Any, *args: Any, **kw: Any) -> Any:
        return self._routed(super().execute, statement, args, kw)

    def scalar(self, statement: Any, *args: Any, **kw: Any) -> Any:
        return self._routed(super().scalar, statement, args, kw)

    def scalars(self, statement: Any, *args: Any, **kw: Any) -> Any:
        return self._routed(super().scalars, statement, args, kw)

    def connection(self, *args: Any, **kw: Any) -> Connection:
        with self._sending():
            connection = super().connection(*args, **kw)
        if self.router is not None:
            self.router.lent()
        return connection

    def flush(self, objects: Sequence[Any] | None = None) -> None:
        if self._sends:  # as a statement does before it is sent
            super().flush(objects)
        else:
            with self._sending():
                super().flush(objects)

    def bulk_save_objects(self, *args: Any, **kw: Any) -> None:
        self._may_write()
        with self._sending():
            super().bulk_save_objects(*args, **kw)

    def bulk_insert_mappings(self, *args: Any, **kw: Any) -> None:
        self._may_write()
        with self._sending():
            super().bulk_insert_mappings(*args, **kw)

    def bulk_update_mappings(self, *args: Any, **kw: Any) -> None:
        self._may_write()
        with self._sending():
            super().bulk_update_mappings(*args, **kw)

    @contextmanager
    def _sending(self) -> Iterator[None]:
        before, self._sends = self._sends, True
        try:
            yield
        except _EXPLAINED as error:
            if self.router is not None:
                self.router.explain(error)
            raise
        finally:
            self._sends = before

    def _routed(
        self,
        call: Callable[..., Any],
        statement: Any,
        args: tuple[Any, ...],
        kw: dict[str, Any],
    ) -> Any:
        router = self.router
        if router is None:
            return call(statement, *args, **kw)
        options: Mapping[str, Any] = kw.get("execution_options") or {}
        arguments = {"clause": statement, **(kw.get("bind_arguments") or {})}
        if "route" in options:
            arguments["route"] = options["route"]
        kw["bind_arguments"] = arguments
        if self.dispatch.do_orm_execute:
            kw["_add_event"] = _after_other_listeners
        if getattr(statement, "is_dml", False):
            router.may_write()  # before the SELECT that synchronize_session="fetch" may send first
        before, self._sends = self._sends, True
        try:
            while True:
                try:
                    result = call(statement, *args, **kw)
                except DBAPIError as error:
                    if not router.serve_again(error):
                        raise
                else:
                    router.answered(result if options.get("stream_results") else None)
                    if (
                        isinstance(result, CursorResult)
                        and statement.is_dml
                        and result.rowcount > 0
                    ):
                        router.wrote()
                    return result
        except BaseException as error:
            try:
                if isinstance(error, _EXPLAINED):
                    router.explain(error)
            finally:
                if not self.in_transaction() and not router.opening:
                    router.ended()  # else the end of the transaction does it
            raise
        finally:
            self._sends = before

    def get_bind(
        self,
        mapper: Any = None,
        *,
        clause: ClauseElement | None = None,
        bind: Engine | Connection | None = None,
        route: str | None = None,
        **kw: Any,
    ) -> Engine | Connection:
        """Decide where the statement that is about to be sent runs.

        A caller that sends no statement learns where one would run: nothing is decided then, and
        no I/O done.

        Returns:
            The connection for a read, or the engine for a transaction that may write.

        Raises:
            ConfigurationError: the route is neither ``"read"`` nor ``"primary"``; or the session
                is over.
            DatabaseClosed: the database is not started, or closed.
            NotCaughtUp: no server has all that the session must see.
            WriteLost: what it must see is not in the database any more.
        """
        router = self.router
        if router is None or bind is not None:
            return super().get_bind(mapper, clause=clause, bind=bind, **kw)
        router.cluster.require_open()
        if router.over is not None:
            raise ConfigurationError(router.over)
        if not self._sends or not in_greenlet():
            return router.bind
        reason = None if router.read_only else self._reason_for_primary(router, clause, route)
        if reason is None:
            # A connection, not an engine: the session then neither commits nor closes it, and a
            # replica that dies cannot fail the COMMIT on the primary.
            return router.reader()
        router.go_to_primary(reason)
        return router.bind

    def bind_mapper(self, *args: Any, **kw: Any) -> None:
        self._refuse_binds()
        super().bind_mapper(*args, **kw)

    def bind_table(self, *args: Any, **kw: Any) -> None:
        self._refuse_binds()
        super().bind_table(*args, **kw)

    def _refuse_binds(self) -> None:
        if self.router is not None:
            raise ConfigurationError(DATABASE_OR_BINDS)

    def _reason_for_primary(
        self, router: Router, clause: ClauseElement | None, route: str | None
    ) -> Reason | None:
        """Why a statement goes to the primary; None if it is a plain read."""
        if router.writes:
            return Reason.MAY_WRITE
        transaction = self.get_transaction()
        if transaction is not None and transaction.origin is SessionTransactionOrigin.BEGIN:
            return Reason.MAY_WRITE  # an explicit begin() says so
        if self.twophase or self.in_nested_transaction():
            return Reason.MAY_WRITE
        if "isolation_level" in self.execution_options:
            return Reason.MAY_WRITE  # replicas are read in autocommit
        said: Mapping[str, Any] = getattr(clause, "get_execution_options", dict)()
        route = route or said.get("route") or self.execution_options.get("route")
        match route:
            case "read":
                return None
            case "primary":
                return Reason.ASKED
            case None:
                plain = clause is not None and is_plain_read(clause)
                return None if plain else Reason.MAY_WRITE
        raise ConfigurationError(f"route={route!r}: it is 'read' or 'primary'")

    def rollback(self) -> None:
        try:
            super().rollback()
        finally:
            router = self.router
            if router is not None and not self.in_transaction() and not router.opening:
                router.abandon()

    def close(self) -> None:
        try:
            if self.router is not None and self.router.cluster.closed:
                super().invalidate()  # the pools are gone, and would never close a connection
            else:
                super().close()
        finally:
            if self.router is not None:
                self.router.ended()


def _after_other_listeners(state: ORMExecuteState) -> None:
    """Route a statement as the listeners of `do_orm_execute` have left it.

    SQLAlchemy hands their execution options to no method of a session. So this is called after all
    of them, by the argument that SQLAlchemy's own extensions use for that (`Session.execute`,
    ``_add_event``); what it puts into the bind arguments reaches `get_bind`.
    """
    state.bind_arguments["clause"] = state.statement
    if "route" in state.local_execution_options:
        state.bind_arguments["route"] = state.local_execution_options["route"]


@event.listens_for(RoutedSession, "after_begin")
def _after_begin(session: RoutedSession, _: SessionTransaction, connection: Connection) -> None:
    if session.router is not None:
        session.router.began(connection)


@event.listens_for(RoutedSession, "before_flush")
def _before_flush(session: RoutedSession, *_: Any) -> None:
    if session.router is not None:
        session.router.may_write()


@event.listens_for(RoutedSession, "after_flush")
def _after_flush(session: RoutedSession, *_: Any) -> None:
    if session.router is not None and (
        session.new or session.deleted or any(map(session.is_modified, session.dirty))
    ):
        session.router.wrote()


@event.listens_for(RoutedSession, "after_commit")
def _after_commit(session: RoutedSession) -> None:
    # The release of a savepoint is announced in the same way.
    if session.router is not None and not session.in_nested_transaction():
        session.router.committed()


@event.listens_for(RoutedSession, "after_transaction_end")
def _after_transaction_end(session: RoutedSession, transaction: SessionTransaction) -> None:
    if session.router is not None and transaction.parent is None:
        session.router.ended()
