"""What happened, as clients saw it: one record for each transaction."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias

__all__ = ["History", "Kind", "Operation", "Outcome", "Seen", "dump", "load"]

Kind: TypeAlias = Literal["read", "write", "bookmark", "audit"]
Outcome: TypeAlias = Literal["ok", "failed", "unknown"]

_MICROSECONDS: Final = 6  # digits; more would only make the file longer


class Seen(NamedTuple):
    """A version of a key.

    Versions count from 1 and are assigned under the row's lock; 0 is the state before the first.
    """

    key: int
    version: int
    writer: str
    """The operation that wrote it; empty for version 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One transaction: a statement that reads, a read-only transaction, or one that writes.

    Attributes:
        id: unique; it is also written beside each version, so that readers say whom they read.
        session: whose it is.
        kind: ``bookmark`` hands one out; ``audit`` reads, in the end, all that is on the primary.
        start: seconds, of a clock that all processes share.
        end: as `start`.
        after: the operations that it directly follows: the session's previous one; or, for the
            first of a session, those whose bookmarks it was started from.
        reads: what it saw.
        writes: what it wrote; of one that was cut off, as far as it is known.
        torn: how what it saw contradicts itself, if it does.
        outcome: ``unknown`` if it may have been committed.
        given: the bookmarks that its session was started from, if it is the first.
        handed: the bookmark that it handed out.
        server: who served it.
        why: for which reason.
        error: the type of what was raised.
    """

    id: str
    session: str
    kind: Kind
    start: float = 0.0
    end: float = 0.0
    after: tuple[str, ...] = ()
    reads: tuple[Seen, ...] = ()
    writes: tuple[Seen, ...] = ()
    torn: str = ""
    outcome: Outcome = "ok"
    given: tuple[str, ...] = ()
    handed: str = ""
    server: str = ""
    why: str = ""
    error: str = ""


History: TypeAlias = "list[Operation]"


def dump(operation: Operation) -> dict[str, Any]:
    """An operation as JSON has it, without what is empty."""
    found = asdict(operation)
    found["start"], found["end"] = (round(found[t], _MICROSECONDS) for t in ("start", "end"))
    return {name: value for name, value in found.items() if value not in ("", ())}


def load(lines: Iterable[str]) -> Iterator[Operation]:
    """The operations that `dump` wrote, one JSON object a line.

    Raises:
        ValueError: a line is none of ours.
    """
    for line in lines:
        found = json.loads(line)
        for name in ("reads", "writes"):
            found[name] = tuple(Seen(*seen) for seen in found.get(name, ()))
        for name in ("after", "given"):
            found[name] = tuple(found.get(name, ()))
        yield Operation(**found)
