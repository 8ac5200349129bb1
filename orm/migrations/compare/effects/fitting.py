"""Which types hold all values of another one."""

import re
from typing import Final

__all__ = ["fits"]

_TYPE: Final = re.compile(r"([a-z]+(?: [a-z]+)*?)\s*(?:\((\d+)(?:,\s*(\d+))?\))?")
_INTEGERS: Final = {"smallint": 1, "int": 2, "integer": 2, "bigint": 3, "big_integer": 3}
_REALS: Final = {"real": 1, "double": 2, "double precision": 2}
_STRINGS: Final = frozenset({"varchar", "character varying", "text", "clob"})
_EXACT: Final = frozenset({"numeric", "decimal"})


def fits(old: str, new: str) -> bool:
    """Whether every value of one type is one of another, and stays what it was.

    Args:
        old: the type, in SQL's words.
        new: the other one.
    """
    if old.lower() == new.lower() and "'" not in old:  # labels differ in other case
        return True
    one, other = _TYPE.fullmatch(old.lower()), _TYPE.fullmatch(new.lower())
    if one is None or other is None:
        return False
    before, after = one[1], other[1]
    sizes = [(int(m[2]) if m[2] else None, int(m[3] or 0)) for m in (one, other)]
    (length, scale), (new_length, new_scale) = sizes
    if before in _INTEGERS:
        return _INTEGERS.get(after, 0) >= _INTEGERS[before] or (after in _EXACT and not new_length)
    if before in _REALS:
        return _REALS.get(after, 0) >= _REALS[before]
    if before in _STRINGS and after in _STRINGS:
        return new_length is None or (length is not None and length <= new_length)
    if before in _EXACT and after in _EXACT:
        wide = length is not None and new_length is not None
        return new_length is None or (
            wide and new_scale >= scale and new_length - new_scale >= (length or 0) - scale
        )
    return False
