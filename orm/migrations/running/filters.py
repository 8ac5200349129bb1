"""What a comparison of models and database leaves out."""

from collections.abc import Callable, Mapping

__all__ = ["leave_out"]


def leave_out(reserved: frozenset[str]) -> Callable[[str | None, str, Mapping[str, object]], bool]:
    """An ``include_name`` for Alembic that passes over the library's own tables.

    Args:
        reserved: their names (`orm.backends.Migrations.reserved_tables`).
    """

    def include_name(name: str | None, kind: str, _: Mapping[str, object]) -> bool:
        return not (kind == "table" and name in reserved)

    return include_name
