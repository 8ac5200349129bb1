"""SQLite's SQL as tokens."""

from typing import Final

from orm.backends.tokens import Lexer

__all__ = ["LEXER", "OPAQUE"]

LEXER: Final = Lexer(
    strings=r"[xX]?'(?:[^']|'')*(?:'|\Z)",
    names=r'"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]',
)

OPAQUE: Final = r"""--[^\n]*|/\*.*?\*/                       # comments
    |'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]"""
"""What is not to be looked into, as a verbose expression: comments, strings, quoted names."""
