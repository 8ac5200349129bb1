"""One migration of a database at a time: how it waits for the process that migrates now."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from orm._greenlet import await_, in_greenlet
from orm.exceptions import MigrationError

__all__ = ["wait_for_turn"]

_LOG: Final = logging.getLogger(__name__)


def wait_for_turn(
    take: Callable[[], bool],
    holder: Callable[[], str],
    database: str,
    patience: float,
    *,
    poll: float,
) -> None:
    """Take the lock of a database's migrations as soon as it is free.

    Args:
        take: tries to take the lock without waiting, and returns whether it has it now.
        holder: what is known of the process that has the lock, for people.
        database: which database, for people.
        patience: seconds to wait.
        poll: seconds between two tries.

    Raises:
        MigrationError: another process has the lock for longer.
    """
    until, waited = time.monotonic() + patience, False
    while not take():
        if time.monotonic() >= until:
            raise MigrationError(
                f"{holder()} is migrating {database}, and was not done within {patience:g} s: "
                "apply again when it is"
            )
        if not waited:
            _LOG.warning("%s is migrating %s: waiting for it", holder(), database)
            waited = True
        if in_greenlet():  # the holder of the lock may run in this very event loop
            await_(asyncio.sleep(poll))
        else:
            time.sleep(poll)
