"""What a revision is about: as its message, and as a part of its file's name."""

import re
import unicodedata
from typing import Final

from orm.exceptions import ConfigurationError

__all__ = ["message_of", "slug_of"]

_LONGEST: Final = 40
"""Characters of a slug, as Alembic has it."""


def message_of(name: str) -> str:
    """The name as one line that any file can hold.

    Args:
        name: any text.

    Raises:
        ConfigurationError: it has characters that cannot be printed.
    """
    line_of_it = " ".join(name.split())
    if not line_of_it.isprintable():  # control characters, or invalid UTF-8
        raise ConfigurationError(f"{name!r} has characters that cannot be printed: leave them out")
    return line_of_it


def slug_of(name: str) -> str:
    """The part of a file's name that says what a revision is about.

    Args:
        name: any text. Letters of any script stay, without their accents.

    Raises:
        ConfigurationError: no letter or digit is in it.
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not "\u0300" <= c <= "\u036f")
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFC", plain).lower())
    if not words:
        raise ConfigurationError(
            f"{name!r} has no letter or digit to name a file by: say what the revision does, as in "
            '"add a nickname"'
        )
    slug = "_".join(words)
    if len(slug) > _LONGEST:
        slug = slug[: _LONGEST + 1].rpartition("_")[0] or slug[:_LONGEST]
    return slug
