from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orm.backends.sqlite.replication import Replicator
from tests.backends.sqlite.replication.support import Child, Landings, Ledger, Replicate


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "source.db")
    yield ledger
    ledger.close()


@pytest.fixture
def replica(tmp_path: Path) -> Path:
    return tmp_path / "replica.db"


@pytest.fixture
def replicate(ledger: Ledger, replica: Path) -> Iterator[Replicate]:
    """Make a replicator that is stopped in the end, and started unless told otherwise."""
    made: list[Replicator] = []

    def replicate(
        source: Path = ledger.file, *, start: bool = True, **options: Any
    ) -> tuple[Replicator, Landings]:
        landings = Landings()
        replicator = Replicator(source, options.pop("to", replica), landed=landings, **options)
        made.append(replicator)
        if start:
            replicator.start()
        return replicator, landings

    yield replicate
    for replicator in made:
        replicator.stop()


@pytest.fixture
def spawn() -> Iterator[Callable[..., Child]]:
    children: list[Child] = []

    def spawn(*arguments: object) -> Child:
        children.append(Child(*arguments))
        return children[-1]

    yield spawn
    for child in children:
        child.kill()
