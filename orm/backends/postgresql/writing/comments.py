"""Comments, and options of tables: what is changed in place."""

import re
from collections.abc import Iterator
from typing import Final

from orm.backends.postgresql.writing.names import qualified

__all__ = ["comment_of", "of_table", "without_comment"]

_COMMENT: Final = re.compile(r" ?comment (E?'(?:[^']|'')*')$", re.DOTALL)
_OPTIONS: Final = re.compile(r"(unlogged)? ?((?:\w+=[^ ,]+(?:, )?)*)")


def comment_of(definition: str) -> str | None:
    """The comment of a table or a constraint, as a literal; None if it has none."""
    found = _COMMENT.search(definition)
    return found[1] if found else None


def without_comment(definition: str) -> str:
    """The rest of its definition."""
    return _COMMENT.sub("", definition)


def of_table(name: str, old: str, new: str) -> Iterator[str]:
    """What changes the options and the comment of a table."""
    if comment_of(old) != comment_of(new):
        yield f"COMMENT ON TABLE {qualified(name)} IS {comment_of(new) or 'NULL'}"
    was, now = (_OPTIONS.fullmatch(without_comment(text)) for text in (old, new))
    if was is None or now is None:
        return  # a partition, say
    if was[1] != now[1]:
        yield f"ALTER TABLE {qualified(name)} SET {'UNLOGGED' if now[1] else 'LOGGED'}"
    before, after = (dict(o.split("=") for o in m[2].split(", ") if o) for m in (was, now))
    if gone := ", ".join(sorted(before.keys() - after.keys())):
        yield f"ALTER TABLE {qualified(name)} RESET ({gone})"
    if changed := ", ".join(f"{k}={v}" for k, v in after.items() if before.get(k) != v):
        yield f"ALTER TABLE {qualified(name)} SET ({changed})"
