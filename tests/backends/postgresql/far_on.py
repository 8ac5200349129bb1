"""A cluster that has gone far, as in years of work: each number is larger than one expects."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from orm.backends.postgresql import programs
from orm.testing.postgresql import Cluster

__all__ = ["FORKS", "NEXT", "TIMELINE", "far_on"]

TIMELINE: Final = 20
FORKS: Final = {old: (2 << 32) + (old << 24) for old in range(1, TIMELINE)}
"""Where each timeline before that was left."""
NEXT: Final = 2**32 - 100
"""The number of the next transaction. PostgreSQL keeps 32 bits of it with most things."""

_EACH: Final = 2**20  # transactions whose outcomes are in one file


@contextmanager
def far_on(scratch: Path) -> Iterator[Cluster]:
    """A primary on a late timeline, far in its log, soon to use up 32 bits; and two standbys.

    Args:
        scratch: a folder for what is needed to make it.
    """
    with Cluster(standbys=0) as cluster:
        primary = cluster.primary
        primary.sql("VACUUM FREEZE")  # whatever has a number, since that is in the future then
        primary.stop()
        programs.run(
            programs.find(scratch) / "pg_resetwal",
            *("-D", primary.data, "-x", str(NEXT), "-l", f"{TIMELINE:08X}0000000300000001"),
        )
        outcomes = primary.data / "pg_xact" / f"{NEXT // _EACH:04X}"
        outcomes.write_bytes(bytes(_EACH // 4))
        history = primary.data / "pg_wal" / f"{TIMELINE:08X}.history"
        history.write_text(
            "".join(
                f"{old}\t{at >> 32:X}/{at % 2**32:X}\tno reason\n\n" for old, at in FORKS.items()
            )
        )
        if owner := programs.ownership():
            for file in (outcomes, history):
                os.chown(file, owner["user"], owner["group"])
        primary.start()
        for _ in range(2):
            cluster.add_standby()
        yield cluster
