"""Whether a column that gets another type keeps its values, or fails where it cannot.

In strict mode the engines refuse a number that is too large, a text that is too long, and a text
that is no number. They say nothing where they round a number, cut the fraction of a second or the
time of a day, and where they take a number for the place of a label in an ENUM.
"""

import re
from typing import Final

__all__ = ["keeps_values"]

_TYPE: Final = re.compile(r"(\w+)(?:\(([^)]*)\))?")
_INTEGERS: Final = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint"})
_TEXTS: Final = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"})
_BYTES: Final = frozenset({"varbinary", "tinyblob", "blob", "mediumblob", "longblob"})
_TIMES: Final = frozenset({"datetime", "time", "timestamp"})
_AS_TEXT: Final = _INTEGERS | _TEXTS | {"decimal", "enum", "json", "uuid"}
_LABELS: Final = frozenset({"enum", "varchar"})
_FROM_TEXT: Final = _TEXTS | {"enum", "json", "uuid"}


def keeps_values(old: str, new: str, *, labels: bool = False) -> bool:
    """Whether MODIFY COLUMN keeps all values, or fails.

    Args:
        old: the definition of the column as it is.
        new: as it is to be.
        labels: whether the new one is a text that has certain values, which the engine does not
            know.
    """
    (before, its), (after, theirs) = _type(old), _type(new)
    if (before, its) == (after, theirs):
        return True
    if labels and before not in _LABELS:
        return False
    if before in _TEXTS and after in _FROM_TEXT:
        return True
    if after in _TEXTS and before in _AS_TEXT:
        return True
    if {before, after} <= _INTEGERS or {before, after} <= _BYTES or before == after == "enum":
        return True
    if after == "decimal":
        return before in _INTEGERS or (before == "decimal" and _scale(theirs) >= _scale(its))
    if before == after and before in _TIMES:
        return _fraction(theirs) >= _fraction(its)
    return (before, after) == ("date", "datetime")


def _type(definition: str) -> tuple[str, str]:
    found = _TYPE.match(definition)
    assert found is not None
    return found[1], found[2] or ""


def _scale(arguments: str) -> int:
    return int(arguments.partition(",")[2] or 0)


def _fraction(arguments: str) -> int:
    return int(arguments or 0)
