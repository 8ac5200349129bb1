"""How a session may start: on the primary, anywhere, or from bookmarks."""

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Final

from orm.bookmark import Bookmark
from orm.exceptions import InvalidBookmark

__all__ = ["FIRST_PRIMARY", "FIRST_UNCONSTRAINED", "Constraint", "parse"]

FIRST_PRIMARY: Final = "first-primary"
FIRST_UNCONSTRAINED: Final = "first-unconstrained"

Constraint = str | Bookmark | Iterable[str | Bookmark] | None
"""``"first-primary"``, ``"first-unconstrained"`` (also None), a bookmark, or several of them.

``"first-primary"`` among bookmarks: the first transaction sees them, on the primary."""


def parse(constraint: Constraint, keys: Sequence[bytes]) -> tuple[bool, Bookmark | None]:
    """Tell what a constraint asks for.

    Args:
        constraint: where a session starts.
        keys: the keys that check signatures; with any, an unsigned bookmark is refused.

    Returns:
        Whether the first transaction reads from the primary, and the bookmark to start from.

    Raises:
        InvalidBookmark: the constraint is neither of the two words, nor a bookmark.
        ForeignBookmark: several bookmarks, of different histories.
    """
    if constraint is None or constraint == FIRST_UNCONSTRAINED:
        return False, None
    if constraint == FIRST_PRIMARY:
        return True, None
    given: list[str | Bookmark]
    if isinstance(constraint, str | Bookmark) or not isinstance(constraint, Iterable):
        given = [constraint]
    else:
        given = list(constraint)
    first_primary = FIRST_PRIMARY in given
    bookmarks = [_bookmark(one, keys) for one in given if one != FIRST_PRIMARY]
    return first_primary, reduce(Bookmark.merge, bookmarks) if bookmarks else None


def _bookmark(given: str | Bookmark, keys: Sequence[bytes]) -> Bookmark:
    if isinstance(given, Bookmark):
        return given
    try:
        return Bookmark.decode(given, keys)
    except InvalidBookmark as error:
        raise InvalidBookmark(
            f"{error}; a session starts {FIRST_PRIMARY!r}, {FIRST_UNCONSTRAINED!r}, "
            "or from a bookmark that an earlier session handed out"
        ) from None
