"""The watch over what public methods raise notices an error that is not documented."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from orm.exceptions import NoPrimary, OrmError, WriteLost
from tests import documented


class Library:
    """Raises what it is given.

    Raises by any statement:
        NotCaughtUp: if it is given one.
    """

    def __init__(self, error: OrmError) -> None:
        self.error = error

    async def silent(self) -> None:
        raise self.error

    async def vague(self) -> None:
        """It says too little.

        Raises:
            OrmError: which may be anything.
        """
        raise self.error

    def exact(self) -> None:
        """It says all.

        Raises:
            ConfigurationError: never; and this explanation, which goes on in a line that
                WriteLost: does not count in.
            InvalidBookmark, ForeignBookmark: never.
        """
        raise self.error

    @property
    def value(self) -> None:
        """It says nothing."""
        raise self.error

    @asynccontextmanager
    async def block(self) -> AsyncIterator[None]:
        """It says nothing, and raises at its end."""
        yield
        raise self.error

    @asynccontextmanager
    async def harmless(self) -> AsyncIterator[None]:
        """It raises nothing of its own."""
        yield


documented.watch_class(Library)


def test_an_error_that_is_not_named_fails_the_test() -> None:
    with suppress(OrmError):
        Library(WriteLost("gone")).exact()
    with pytest.raises(AssertionError, match=r"Library\.exact raised WriteLost, which its doc"):
        documented.complain()


async def test_the_root_of_the_tree_names_nothing_else() -> None:
    with suppress(OrmError):
        await Library(WriteLost("gone")).vague()
    with pytest.raises(AssertionError, match=r"Library\.vague raised WriteLost"):
        documented.complain()
    with suppress(OrmError):
        await Library(OrmError("anything")).vague()


async def test_properties_and_the_ends_of_blocks_are_watched() -> None:
    with suppress(OrmError):
        _ = Library(WriteLost("gone")).value
    with pytest.raises(AssertionError, match=r"Library\.value raised WriteLost"):
        documented.complain()
    with suppress(OrmError):
        async with Library(WriteLost("gone")).block():
            pass
    with pytest.raises(AssertionError, match=r"Library\.block raised WriteLost"):
        documented.complain()


async def test_a_base_that_is_named_is_enough() -> None:
    with suppress(OrmError):
        await Library(NoPrimary("away")).silent()
    documented.complain()


async def test_an_error_of_the_body_is_not_one_of_its_block() -> None:
    with suppress(OrmError):
        async with Library(WriteLost("gone")).harmless():
            raise WriteLost("gone")
    documented.complain()
