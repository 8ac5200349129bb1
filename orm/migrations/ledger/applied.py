"""A row of the ledger, as a value."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

__all__ = ["Applied", "in_order"]


@dataclass(frozen=True, slots=True)
class Applied:
    """A revision as it was applied.

    Attributes:
        revision: its id, such as ``"0002"``.
        name: its file's name without ``.py``.
        checksum: `orm.migrations.revision.Revision.checksum` of the file that ran.
        applied_at: when, in UTC.
        seconds: how long it ran; None if it did not run here (a baseline, a script from ``--sql``).
        bookmark: where the database was before it, as `orm.Bookmark.encode` writes it; None if
            that is not known.
        note: the reasons of baselines and repairs, one a line; None if there were none.
    """

    revision: str
    name: str
    checksum: str
    applied_at: datetime
    seconds: float | None = None
    bookmark: str | None = None
    note: str | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """A row of the ledger, in whichever form its engine keeps times."""
        at = row["applied_at"]
        if isinstance(at, str):
            at = datetime.fromisoformat(at)
        if at.tzinfo is None:  # SQLite keeps no time zone
            at = at.replace(tzinfo=UTC)
        return replace(cls(**row), applied_at=at.astimezone(UTC))


def in_order(rows: Iterable[Applied]) -> list[Applied]:
    """The rows by number."""
    return sorted(rows, key=lambda row: (len(row.revision), row.revision))
