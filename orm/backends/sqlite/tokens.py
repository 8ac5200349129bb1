"""SQLite's SQL as tokens."""

from typing import Final

from orm.backends.tokens import Lexer

__all__ = ["LEXER"]

LEXER: Final = Lexer(
    strings="[xX]?'(?:[^']|'')*'",
    names=r'"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]',
)
