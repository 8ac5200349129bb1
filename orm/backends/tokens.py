"""SQL as a sequence of tokens: what stands in a string, a quoted name or a comment is no SQL."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, cast

__all__ = ["STANDARD", "Cursor", "Kind", "Lexer", "Token", "closing", "split", "statements"]

Kind = Literal["word", "name", "string", "mark"]


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a text that means something.

    Attributes:
        text: as it is written.
        kind: a ``word`` is a keyword, a name without quotes or a number; a ``name`` has quotes.
        start: where it begins.
    """

    text: str
    kind: Kind
    start: int

    @property
    def end(self) -> int:
        """Where the text goes on after it."""
        return self.start + len(self.text)

    @property
    def word(self) -> str:
        """A word in capitals; a mark as it is; empty for what is quoted."""
        return self.text.upper() if self.kind in ("word", "mark") else ""

    @property
    def identifier(self) -> str:
        """The name that it stands for; SQLite takes a string for one, too."""
        quote = self.text[-1]
        if self.kind in ("word", "mark") or self.text[0] not in "\"'`[":
            return self.text
        return self.text[1:-1].replace(quote * 2, quote)


class Lexer:
    """Takes SQL apart, as an engine does.

    Args:
        spaces: what stands between tokens, comments too: a regular expression.
        strings: what is a string, or another value that is quoted; it may lack its end.
        names: what is a name in quotes.
    """

    def __init__(
        self,
        *,
        spaces: str = r"\s+|--[^\n]*|/\*.*?(?:\*/|\Z)",
        strings: str = r"'(?:[^']|'')*(?:'|\Z)",
        names: str = '"(?:[^"]|"")*"',
    ) -> None:
        self._token = re.compile(
            rf"(?P<space>{spaces})|(?P<string>{strings})|(?P<name>{names})"
            r"|(?P<word>[\w$]+)|(?P<mark>.)",
            re.DOTALL,
        )

    def __call__(self, text: str) -> list[Token]:
        """The tokens of a text."""
        return [
            Token(found[0], cast("Kind", found.lastgroup), found.start())
            for found in self._token.finditer(text)
            if found.lastgroup != "space"
        ]


STANDARD: Final = Lexer()

_ROUTINES: Final = frozenset({"FUNCTION", "PROCEDURE", "TRIGGER", "EVENT", "PACKAGE"})
_BLOCKS: Final = frozenset({"IF", "LOOP", "WHILE", "REPEAT", "FOR"})
"""``END IF`` and the like end what was not counted when it began."""


def closing(tokens: Sequence[Token], opening: int) -> int:
    """Where the parenthesis ends that a token opens; the last token if it does not."""
    depth = 0
    for at in range(opening, len(tokens)):
        depth += {"(": 1, ")": -1}.get(tokens[at].word, 0)
        if depth == 0:
            return at
    return len(tokens) - 1


def split(tokens: Sequence[Token]) -> Iterator[Sequence[Token]]:
    """The items of a list: they are separated by the commas that are in no parentheses."""
    begin = depth = 0
    for at, token in enumerate(tokens):
        depth += {"(": 1, ")": -1}.get(token.word, 0)
        if token.word == "," and depth == 0:
            yield tokens[begin:at]
            begin = at + 1
    yield tokens[begin:]


def statements(tokens: Sequence[Token]) -> Iterator[Sequence[Token]]:
    """Split at the semicolons, but for those in the body of a routine, a trigger or an event."""
    begin = depth = 0
    for at, token in enumerate(tokens):
        word = token.word
        if word in ("BEGIN", "CASE", "END") and _is_routine(tokens[begin:at]):
            if word != "END":
                depth += tokens[at - 1].word != "END"
            elif at + 1 == len(tokens) or tokens[at + 1].word not in _BLOCKS:
                depth -= 1
        elif word == ";" and depth <= 0:
            yield tokens[begin:at]
            begin, depth = at + 1, 0
    yield tokens[begin:]


def _is_routine(statement: Sequence[Token]) -> bool:
    words = [token.word for token in statement[:12]]
    return words[:1] == ["CREATE"] and not _ROUTINES.isdisjoint(words)


class Cursor:
    """Reads the tokens of a statement from left to right.

    Args:
        text: what they were taken from.
        tokens: the statement's.
    """

    def __init__(self, text: str, tokens: Sequence[Token]) -> None:
        self.text = text
        self.tokens = tokens
        self.words: list[str] = [token.word for token in tokens]
        self.at: int = 0

    @property
    def is_at_end(self) -> bool:
        """Whether all was read."""
        return self.at >= len(self.tokens)

    def next(self, *words: str) -> bool:
        """Whether one of these words comes next."""
        return not self.is_at_end and self.words[self.at] in words

    def skip(self, *words: str) -> bool:
        """Go past all of these words that come next; whether there was one."""
        began = self.at
        while self.next(*words):
            self.at += 1
        return self.at > began

    def go_past(self, word: str) -> None:
        """Go to what follows a word; to the end if it does not come."""
        while not self.is_at_end and not self.skip(word):
            self.at += 1

    def name(self) -> str:
        """The name that comes next, of which two parts count; empty if there is none."""
        return ".".join(self.parts()[-2:])

    def parts(self) -> list[str]:
        """The parts of the name that comes next: of ``app.users`` the schema and the table."""
        self.skip("IF", "NOT", "EXISTS", "ONLY")
        parts: list[str] = []
        while not self.is_at_end and self.tokens[self.at].kind in ("word", "name"):
            parts.append(self.tokens[self.at].identifier)
            self.at += 1
            if not self.skip("."):
                break
        return parts

    def names(self) -> Iterator[str]:
        """The names of a list."""
        yield self.name()
        while self.skip("*", ","):
            if not self.next("FROM"):
                yield self.name()

    def rest(self) -> Sequence[Token]:
        """All that comes; it counts as read."""
        began, self.at = self.at, len(self.tokens)
        return self.tokens[began:]

    def since(self, began: int) -> str:
        """The text from a token up to the next one."""
        tokens = self.tokens[began : self.at]
        return self.text[tokens[0].start : tokens[-1].end] if tokens else ""
