"""Watches the public methods: each error of ours that escapes from one is in its documentation.

A method documents an error that its docstring's "Raises" names, or a base of it below `OrmError`. A
method without a docstring, or one of SQLAlchemy's, is documented by its class, in "Raises by any
statement".
"""

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

import orm.exceptions
import orm.migrations
import orm.testing
from orm import Bookmark, BookmarkConnection, BookmarkSession, Chain, Database, OrmError
from orm.session import _ReadOnlyTransaction
from orm.web import RequestBookmarks

CLASSES = (Bookmark, BookmarkConnection, BookmarkSession, Chain, Database, RequestBookmarks)
PACKAGES = (orm.migrations, orm.testing)

_SECTION = re.compile(
    r"^( *)Raises(?P<any> by any statement)?[^\n]*:\n(?P<lines>(?:\1 +.*\n|\n)*)", re.MULTILINE
)
_NAMES = re.compile(r"^( +)([\w., ]+):")

_found: list[str] = []
"""A sentence for each error that escaped and is not documented."""


def complain() -> None:
    """Fail if an error has escaped, since the last call, that is not documented."""
    sentences = sorted({*_found})
    _found.clear()
    assert not sentences, "\n".join(sentences)


def documented(docstring: str | None, *, by_any: bool = False) -> frozenset[type[Exception]]:
    """The errors of ours that a docstring names: in "Raises", or in that "by any statement"."""
    names: set[str] = set()
    for section in _SECTION.finditer(inspect.cleandoc(docstring or "") + "\n"):
        if bool(section["any"]) == by_any:
            lines = section["lines"].splitlines()
            entries = [entry for entry in map(_NAMES.match, lines) if entry]
            least = min((len(entry[1]) for entry in entries), default=0)
            for entry in entries:
                if len(entry[1]) == least:  # else it is the continuation of one
                    names.update(re.split(r", ?", entry[2]))
    return frozenset(
        error for name in names if isinstance(error := getattr(orm.exceptions, name, None), type)
    )


class _Watched:
    """One public function, and what it says that it raises."""

    def __init__(self, name: str, raises: frozenset[type[Exception]]) -> None:
        self._name = name
        self._raises = raises

    def escaped(self, error: OrmError) -> None:
        named = self._raises if type(error) is OrmError else self._raises - {OrmError}
        if not isinstance(error, tuple(named)):
            kind = type(error).__name__
            _found.append(f"{self._name} raised {kind}, which its docstring does not name: {error}")

    @contextmanager
    def watching(self, passing: BaseException | None = None) -> Iterator[None]:
        try:
            yield
        except OrmError as error:
            if error is not passing:  # it was raised by the body of a block
                self.escaped(error)
            raise


class _Block:
    """An async context manager whose beginning and end are watched."""

    def __init__(self, block: Any, watched: _Watched) -> None:
        self._block = block
        self._watched = watched

    async def __aenter__(self) -> Any:
        with self._watched.watching():
            return await self._block.__aenter__()

    async def __aexit__(self, kind: Any, error: Any, traceback: Any) -> Any:
        with self._watched.watching(error):
            return await self._block.__aexit__(kind, error, traceback)


def _wrapped(function: Callable[..., Any], watched: _Watched) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def wrapper(*args: Any, **kw: Any) -> Any:
            try:
                return await function(*args, **kw)
            except OrmError as error:
                passing = args[2] if function.__name__ == "__aexit__" else None
                if error is not passing:
                    watched.escaped(error)
                raise

    elif inspect.isasyncgenfunction(inspect.unwrap(function)):

        @functools.wraps(function)
        def wrapper(*args: Any, **kw: Any) -> Any:
            return _Block(function(*args, **kw), watched)

    else:

        @functools.wraps(function)
        def wrapper(*args: Any, **kw: Any) -> Any:
            try:
                return function(*args, **kw)
            except OrmError as error:
                watched.escaped(error)
                raise

    return wrapper


def watch_class(owner: type) -> None:
    """Watch the public methods and properties of a class, those of SQLAlchemy's session too."""
    by_any = documented(owner.__doc__, by_any=True)
    members = dict(vars(owner))
    if issubclass(owner, AsyncSession):
        members = vars(AsyncSession) | members
    for name, member in members.items():
        if name.startswith("_") and name not in ("__init__", "__aexit__"):
            continue
        title = owner.__name__ if name == "__init__" else f"{owner.__name__}.{name}"
        own = member if name in vars(owner) else None
        docstring = owner.__doc__ if name == "__init__" else getattr(own, "__doc__", None)
        watched = _Watched(title, documented(docstring) if docstring else by_any)
        if isinstance(member, FunctionType):
            setattr(owner, name, _wrapped(member, watched))
        elif isinstance(member, property) and own is not None and member.fget is not None:
            setattr(owner, name, property(_wrapped(member.fget, watched), member.fset))
        elif isinstance(member, staticmethod | classmethod) and own is not None:
            setattr(owner, name, type(member)(_wrapped(member.__func__, watched)))


def watch_package(package: ModuleType) -> None:
    """Watch the functions that a package exports."""
    for name in package.__all__:
        function = getattr(package, name)
        if isinstance(function, FunctionType):
            watched = _Watched(f"{package.__name__}.{name}", documented(function.__doc__))
            wrapper = _wrapped(function, watched)
            setattr(package, name, wrapper)
            setattr(inspect.getmodule(function), name, wrapper)


def _watch_transactions() -> None:
    """What a session's transactions raise is documented by the session."""
    by_any = documented(BookmarkSession.__doc__, by_any=True)
    begin = documented(BookmarkSession.begin.__doc__)
    for owner, name, raises in (
        (AsyncSessionTransaction, "commit", by_any),
        (AsyncSessionTransaction, "rollback", by_any),
        (AsyncSessionTransaction, "__aexit__", by_any),
        (_ReadOnlyTransaction, "start", begin),
    ):
        watched = _Watched(f"{owner.__name__}.{name}", raises)
        setattr(owner, name, _wrapped(getattr(owner, name), watched))


def watch() -> None:
    """Watch all that is public; before test modules import names of it."""
    for owner in CLASSES:
        watch_class(owner)
    _watch_transactions()
    for package in PACKAGES:
        watch_package(package)
