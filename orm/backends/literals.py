"""Strings as SQL has them, on every engine in its standard settings."""

from collections.abc import Iterable

__all__ = ["literal", "literals"]


def literal(text: str) -> str:
    """A string in quotes: ``'it''s'``."""
    return "'" + text.replace("'", "''") + "'"


def literals(texts: Iterable[str]) -> str:
    """Strings in quotes, after each other, such as the labels of an enum: ``'a', 'b'``."""
    return ", ".join(map(literal, texts))
