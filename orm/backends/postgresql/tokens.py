"""PostgreSQL's SQL as tokens ("Lexical Structure")."""

from typing import Final

from orm.backends.tokens import Lexer

__all__ = ["LEXER"]

LEXER: Final = Lexer(
    strings=(
        r"[eE]'(?:[^'\\]|\\.?|'')*(?:'|\Z)|(?:[bBnNxX]|[uU]&)?'(?:[^']|'')*(?:'|\Z)"
        r"|\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$"
    ),
)
