"""The roles of servers; for an engine without roles the primary stays the primary."""

from sqlalchemy import Connection

from orm.backends import Backend, Roles
from orm.bookmark import Bookmark

__all__ = ["roles_of"]


class _Fixed:
    def is_standby(self, connection: Connection) -> bool | None:
        return None

    def is_candidate(self, connection: Connection) -> bool:
        return False

    def is_later(self, at: Bookmark, than: Bookmark) -> bool:
        return False

    def lost(self, head: Bookmark, need: Bookmark) -> str | None:
        return None

    def as_need(self, at: Bookmark) -> Bookmark:
        return at

    def without_oldest(self, need: Bookmark) -> Bookmark:
        return need


_FIXED: Roles = _Fixed()


def roles_of(backend: Backend) -> Roles:
    """The roles of a backend; for a backend without roles, fixed ones and one line of history."""
    return backend.roles or _FIXED
