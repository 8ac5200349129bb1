"""The memory of a session, as such."""

from orm import Bookmark
from orm.routing.memory import SessionMemory


def memory(bookmark: Bookmark) -> SessionMemory:
    return SessionMemory(bookmark, first_primary=False, checked_epoch=0)


def test_bookmark_only_moves_forward() -> None:
    seen = memory(Bookmark("h", (("a", 5), ("b", 1))))
    seen.located(Bookmark("h", (("a", 3), ("b", 2))))
    assert seen.bookmark == Bookmark("h", (("a", 5), ("b", 2)))


def test_new_history_starts_over() -> None:
    seen = memory(Bookmark.at("old", 5))
    seen.located(Bookmark.at("new", 1))
    assert seen.bookmark == Bookmark.at("new", 1)
