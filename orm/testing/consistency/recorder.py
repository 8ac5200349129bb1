"""Writing down what happens, so that nothing is forgotten when a process is killed."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from orm.testing.consistency.history import History, Operation, dump, load

__all__ = ["Recorder", "collect"]


class Recorder:
    """The operations of one process.

    Args:
        file: written through line by line: an operation once when it begins, as of unknown
            outcome, and once when it ends. Without one they are kept in memory only.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._operations: dict[str, Operation] = {}
        self._out: TextIO | None = None if file is None else file.open("a", encoding="utf-8")

    def __len__(self) -> int:
        return len(self._operations)

    def write(self, operation: Operation) -> None:
        """Add an operation, or replace the one of that id."""
        self._operations[operation.id] = operation
        if self._out is not None:
            self._out.write(json.dumps(dump(operation)) + "\n")
            self._out.flush()

    def history(self) -> History:
        """All of them."""
        return list(self._operations.values())

    def close(self) -> None:
        """Close the file."""
        if self._out is not None:
            self._out.close()


def collect(files: Iterable[Path]) -> History:
    """What several processes wrote down, some of which may have been killed."""
    operations: dict[str, Operation] = {}
    for file in files:
        whole, _, _ = file.read_text("utf-8").rpartition("\n")  # the last line may be cut off
        operations |= {operation.id: operation for operation in load(whole.splitlines())}
    return list(operations.values())
