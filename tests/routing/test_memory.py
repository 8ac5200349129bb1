"""The memory of a session, as such."""

from pathlib import Path

from orm import Bookmark, Database
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


async def test_a_bookmark_from_outside_takes_nothing_away(tmp_path: Path) -> None:
    async with Database(f"sqlite+aiosqlite:///{tmp_path}/app.db") as db:
        history = db.cluster.require_open().history
        seen = memory(Bookmark.at(history, 5))
        assert not seen.is_ahead_of(Bookmark.at(history, 4))  # of itself it is checked already
        seen.see(db.cluster, db.rules, Bookmark.at(history, 9))
        assert (seen.bookmark, seen.checked_epoch) == (Bookmark.at(history, 9), None)
        seen.see(db.cluster, db.rules, Bookmark.at(history, 99))
        assert seen.is_ahead_of(Bookmark.at(history, 4))  # a write of its own is lost
        assert not seen.is_ahead_of(Bookmark.at(history, 5))
        seen.start_over(Bookmark(history, (("", 6),), shown=3))
        assert seen.bookmark == Bookmark(history, (("", 6),), shown=3)
