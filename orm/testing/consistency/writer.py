"""One of `orm.testing.consistency.writers`: ``python -m orm.testing.consistency.writer``."""

import asyncio
import json
import os
import sys
import threading
from pathlib import Path
from time import monotonic
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from orm.database import Database
from orm.exceptions import OrmError
from orm.testing.consistency.board import Board
from orm.testing.consistency.client import Client
from orm.testing.consistency.recorder import Recorder
from orm.testing.consistency.transactions import Habits
from orm.testing.consistency.writers import PATIENCE, READY, Order

__all__: list[str] = []

_WRITES: Final = 0.7
"""The share of transactions that write."""


def _end_with_parent(ended: threading.Event) -> None:
    """Wait until the standard input ends: this process is told to end, or its parent is gone."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    ended.set()
    threading.Event().wait(PATIENCE)
    os._exit(1)  # a server does not answer, and no one waits for it any more


def _order() -> Order:
    """The first line, and not a byte more: the rest is the thread's."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(sys.stdin.fileno(), 1)
        if not byte:
            raise SystemExit(1)  # the parent is gone
        line += byte
    return Order(**json.loads(line))


async def _work(order: Order) -> None:
    ended = threading.Event()
    threading.Thread(target=_end_with_parent, args=[ended], daemon=True).start()
    until = monotonic() + order.seconds
    folder = Path(order.folder)
    habits = Habits(keys=order.keys, writes=_WRITES, latest=order.latest)
    recorder, board = Recorder(folder / f"{order.name}.history"), Board(folder / "board")
    async with Database(order.primary, replicas=order.replicas) as database:
        os.write(sys.stdout.fileno(), READY)
        async with asyncio.TaskGroup() as group:
            for number in range(order.clients):
                name = f"{order.name}c{number}"
                client = Client(name, database, recorder, board, habits, order.seed)
                group.create_task(client.run(lambda: not ended.is_set() and monotonic() < until))


def _main() -> None:
    try:
        asyncio.run(_work(_order()))
    except (OrmError, SQLAlchemyError) as error:
        raise SystemExit(str(error).partition("\n")[0]) from None


if __name__ == "__main__":
    _main()
