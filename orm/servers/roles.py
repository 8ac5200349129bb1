"""Roles where the engine has none: the primary stays the primary, and history is one line."""

from sqlalchemy import Connection

from orm.backends import Backend, Roles
from orm.bookmark import Bookmark

__all__ = ["roles_of"]


class _Fixed:
    def is_standby(self, connection: Connection) -> bool | None:
        return None

    def is_later(self, at: Bookmark, than: Bookmark) -> bool:
        return False

    def lost(self, head: Bookmark, need: Bookmark) -> str | None:
        return None

    def as_need(self, at: Bookmark) -> Bookmark:
        return at


_FIXED: Roles = _Fixed()


def roles_of(backend: Backend) -> Roles:
    """How the servers of a backend change roles, or that they never do."""
    return backend.roles or _FIXED
