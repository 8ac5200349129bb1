"""Core without the ORM, under the same rules as a session."""

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar, TypeVarTuple, overload

from sqlalchemy import Connection, CursorResult, Executable, Result, ScalarResult
from sqlalchemy.ext.asyncio import AsyncResult, AsyncScalarResult, AsyncSessionTransaction
from sqlalchemy.sql.selectable import TypedReturnsRows

from orm.routing import Route
from orm.session import BookmarkSession

__all__ = ["BookmarkConnection"]

_T = TypeVar("_T", bound=Any)
_Ts = TypeVarTuple("_Ts")
_P = ParamSpec("_P")


class BookmarkConnection:
    """The statements and transactions of `AsyncConnection`, over a routed session.

    A transaction begins by itself and runs on one server. A method without a description here does
    what the method of that name on `AsyncConnection` does.

    Args:
        session: does the work. The caller that made it closes it.

    Raises by any statement and at the end of a transaction:
        ConfigurationError: ``route`` is neither ``"read"`` nor ``"primary"``, or the connection is
            in autocommit, and may write; or the primary has lost the table that it keeps its
            position in.
        DatabaseClosed: the database was closed meanwhile.
        ReadOnlyError: the statement writes, and its transaction is read-only, or the statement is
            marked as a read.
        NotCaughtUp: no server that answers has all that the session must see. `NoPrimary`,
            `PrimaryChanged` and `PrimaryBehind` say more.
        WriteLost: the database no longer has what the session must see.
    """

    def __init__(self, session: BookmarkSession) -> None:
        self._session = session

    @overload
    async def execute(
        self, statement: TypedReturnsRows[*_Ts], parameters: Any = None, **options: Any
    ) -> Result[*_Ts]: ...
    @overload
    async def execute(
        self, statement: Executable, parameters: Any = None, **options: Any
    ) -> CursorResult[*tuple[Any, ...]]: ...
    async def execute(self, statement: Any, parameters: Any = None, **options: Any) -> Any:
        return await self._session.execute(statement, parameters, **options)

    @overload
    async def scalar(
        self, statement: TypedReturnsRows[_T], parameters: Any = None, **options: Any
    ) -> _T | None: ...
    @overload
    async def scalar(
        self, statement: Executable, parameters: Any = None, **options: Any
    ) -> Any: ...
    async def scalar(self, statement: Any, parameters: Any = None, **options: Any) -> Any:
        return await self._session.scalar(statement, parameters, **options)

    @overload
    async def scalars(
        self, statement: TypedReturnsRows[_T], parameters: Any = None, **options: Any
    ) -> ScalarResult[_T]: ...
    @overload
    async def scalars(
        self, statement: Executable, parameters: Any = None, **options: Any
    ) -> ScalarResult[Any]: ...
    async def scalars(self, statement: Any, parameters: Any = None, **options: Any) -> Any:
        return await self._session.scalars(statement, parameters, **options)

    async def stream(
        self, statement: Executable, parameters: Any = None, **options: Any
    ) -> AsyncResult[*tuple[Any, ...]]:
        return await self._session.stream(statement, parameters, **options)

    async def stream_scalars(
        self, statement: Executable, parameters: Any = None, **options: Any
    ) -> AsyncScalarResult[Any]:
        return await self._session.stream_scalars(statement, parameters, **options)

    async def exec_driver_sql(
        self, statement: str, parameters: Any = None, **options: Any
    ) -> CursorResult[*tuple[Any, ...]]:
        """Run a statement that is a string, as the driver takes it, on the primary.

        The library does not parse it, so it may write.

        Args:
            statement: in the driver's own syntax, parameters included.
            parameters: a mapping or sequence; or a sequence of those, for several executions.
            options: ``execution_options``, as on `AsyncConnection`.

        Raises:
            ConfigurationError: the primary has lost the table that it keeps its position in.
            DatabaseClosed: the database was closed meanwhile.
            ReadOnlyError: the transaction is read-only.
            NotCaughtUp: the primary cannot serve the transaction now.
            WriteLost: the database no longer has what the session must see.
        """
        connection = await self._session.connection()
        return await connection.exec_driver_sql(statement, parameters, **options)

    async def run_sync(
        self, function: Callable[Concatenate[Connection, _P], _T], *args: _P.args, **kw: _P.kwargs
    ) -> _T:
        """Call a synchronous function with a `Connection` to the primary.

        Args:
            function: called with the connection first; its I/O does not block the event loop.
            args: more arguments of the function.
            kw: more arguments of the function, by keyword.

        Returns:
            What the function returns.

        Raises:
            ConfigurationError: the primary has lost the table that it keeps its position in.
            DatabaseClosed: the database was closed meanwhile.
            ReadOnlyError: the transaction is read-only.
            NotCaughtUp: the primary cannot serve the transaction now.
            WriteLost: the database no longer has what the session must see.
        """
        connection = await self._session.connection()
        return await connection.run_sync(function, *args, **kw)

    def begin(self, *, read_only: bool = False) -> AsyncSessionTransaction:
        """Begin a transaction, on the primary.

        Args:
            read_only: the transaction will not write. It is then one repeatable read, on any
                server that has caught up; a write in it raises `ReadOnlyError`.
        """
        return self._session.begin(read_only=read_only)

    def begin_nested(self) -> AsyncSessionTransaction:
        return self._session.begin_nested()

    def in_transaction(self) -> bool:
        return self._session.in_transaction()

    async def commit(self) -> None:
        await self._session.commit()

    async def rollback(self) -> None:
        await self._session.rollback()

    async def bookmark(self) -> str:
        """The state of the database that this connection has seen; a session may start from it.

        Covers all reads and all committed writes so far. Takes a round trip when the latest reads
        have not been located yet, none otherwise.

        Returns:
            An opaque, URL-safe string of at most 1,024 characters.

        Raises:
            ConfigurationError: the primary has lost the table that it keeps its position in.
            InvalidBookmark: the string would have more than 1,024 characters.
            NotCaughtUp: the latest reads cannot be located now, since no primary answers.
            WriteLost: another primary has taken over, and may not have what was read.
        """
        return await self._session.bookmark()

    @property
    def last_route(self) -> Route | None:
        """Which server served the latest transaction, and why; None before the first one."""
        return self._session.last_route
