"""What a table of MariaDB or MySQL says after its columns: engine, character set, comment, …"""

import re
from collections.abc import Mapping
from typing import Final

__all__ = ["altered_options", "charset_of", "has_charset"]

_OPTION: Final = re.compile(r"(DEFAULT CHARSET|COLLATE|\w+)=('(?:[^']|'')*'|\S+)")
_TEXT: Final = re.compile(r"(?:char|varchar|tinytext|text|mediumtext|longtext|enum|set)\b")
_NOT_GIVEN: Final[Mapping[str, str]] = {
    "AVG_ROW_LENGTH": "0",
    "CHECKSUM": "0",
    "COMMENT": "''",
    "COMPRESSION": "''",
    "DELAY_KEY_WRITE": "0",
    "KEY_BLOCK_SIZE": "0",
    "MAX_ROWS": "0",
    "MIN_ROWS": "0",
    "PACK_KEYS": "DEFAULT",
    "ROW_FORMAT": "DEFAULT",
    "STATS_AUTO_RECALC": "DEFAULT",
    "STATS_PERSISTENT": "DEFAULT",
    "STATS_SAMPLE_PAGES": "DEFAULT",
}
"""What a table has of which ``SHOW CREATE`` says nothing."""


def altered_options(old: str, new: str) -> str | None:
    """The part of an ALTER that gives a table other options; None if it is to keep those it has.

    Where tables are partitioned, it is not known.
    """
    if old == new or "PARTITION" in old + new:
        return None
    names = [name for name, _ in _OPTION.findall(old)]
    kept = {name for name, _ in _OPTION.findall(new)}
    gone = [name for name in names if name not in kept and name in _NOT_GIVEN]
    return " ".join([new, *(f"{name}={_NOT_GIVEN[name]}" for name in gone)])


def charset_of(options: str) -> list[tuple[str, str]]:
    """The character set and the collation of a table, which its columns have unless they say so."""
    found = _OPTION.findall(options)
    return [one for one in found if one[0] in ("DEFAULT CHARSET", "COLLATE")]


def has_charset(column: str) -> bool:
    """Whether a column has a character set, by its definition."""
    return _TEXT.match(column) is not None
