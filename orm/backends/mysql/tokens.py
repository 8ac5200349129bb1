"""The SQL of MariaDB and MySQL as tokens.

A comment such as ``/*!50001 DROP TABLE t */`` is run: it is taken apart, as if it were none. What
stands in double quotes is a string, unless ``ANSI_QUOTES`` is set.
"""

from typing import Final

from orm.backends.tokens import Lexer

__all__ = ["LEXER"]

LEXER: Final = Lexer(
    spaces=r"\s+|--(?=\s|$)[^\n]*|\#[^\n]*|/\*(?!M?!).*?(?:\*/|\Z)|/\*M?!\d*|\*/",
    strings=(
        r"(?:[bBnNxX]|_\w+\s*)?"
        r"(?:'(?:[^'\\]|\\.?|'')*(?:'|\Z)|\"(?:[^\"\\]|\\.?|\"\")*(?:\"|\Z))"
    ),
    names="`(?:[^`]|``)*`",
)
