"""kill -9 at any moment leaves a replica that readers can go on with."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.backends.sqlite.replication.support import (
    Child,
    Ledger,
    Replicate,
    balance,
    connect,
    eventually,
    look,
)

pytestmark = pytest.mark.slow  # each runs a program

KILLS = 16


@pytest.mark.parametrize("rebuild", ["in one file", "rebuild"])
def test_readers_survive_every_kill(
    ledger: Ledger,
    replica: Path,
    replicate: Replicate,
    spawn: Callable[..., Child],
    rebuild: str,
) -> None:
    chance = random.Random(rebuild)
    replicator, _ = replicate()
    replicator.stop()
    over = threading.Event()
    writer = threading.Thread(target=keep_writing, args=(ledger.file, over))
    writer.start()
    seen = reads = 0
    breeder = spawn("breed", ledger.file, replica, rebuild)
    try:
        with closing(connect(replica, "ro")) as reader:
            for number in range(KILLS):
                breeder.tell("go on")
                victim = int(breeder.says())
                if number % 4:  # else it may still be starting
                    breeder.expect("leading")
                end = time.monotonic() + chance.uniform(0, 0.06)
                while time.monotonic() < end:
                    count = look(replica)
                    assert count >= seen
                    seen = count
                    assert balance(reader) <= look(replica)
                    reads += 1
                os.kill(victim, signal.SIGKILL)
                while breeder.says() != "dead":
                    pass
    finally:
        over.set()
        writer.join()
    replicator.start()
    last = ledger.run("SELECT n FROM counter")[0][0]
    assert look(replica) == last
    assert reads > KILLS
    eventually(lambda: len([n for n in os.listdir(replica.parent) if n[-16:].isalnum()]) == 1)


def keep_writing(source: Path, over: threading.Event) -> None:
    with closing(Ledger.open(source)) as ledger:
        while not over.wait(0.002):
            ledger.commit()
