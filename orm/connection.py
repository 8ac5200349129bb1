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
    """What `AsyncConnection` offers for statements and transactions, over a routed session.

    A transaction begins by itself and runs on one server. Every method that is not described
    here does what the method of that name on `AsyncConnection` does.

    Args:
        session: does the work; closing it is its owner's matter.
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
        """As on `AsyncConnection`; a string may do anything, so it runs on the primary."""
        connection = await self._session.connection()
        return await connection.exec_driver_sql(statement, parameters, **options)

    async def run_sync(
        self, function: Callable[Concatenate[Connection, _P], _T], *args: _P.args, **kw: _P.kwargs
    ) -> _T:
        """As on `AsyncConnection`, with a connection to the primary."""
        connection = await self._session.connection()
        return await connection.run_sync(function, *args, **kw)

    def begin(self, *, read_only: bool = False) -> AsyncSessionTransaction:
        """As `BookmarkSession.begin`."""
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
        """As `BookmarkSession.bookmark`."""
        return await self._session.bookmark()

    @property
    def last_route(self) -> Route | None:
        """As `BookmarkSession.last_route`."""
        return self._session.last_route
