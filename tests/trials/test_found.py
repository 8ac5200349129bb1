"""What the trials have found, one by one and without chance."""

import os
import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.exc import DisconnectionError

from models import User
from orm.backends.sqlite import engines


def replace_with_copy_of_primary(servers) -> str:
    """What a replicator does that makes a new file for replica 1; its name."""
    name = f"app.replica-1.db.{'0' * 16}"
    with (
        closing(sqlite3.connect(servers.folder / "app.db")) as primary,
        closing(sqlite3.connect(servers.folder / name)) as copy,
    ):
        primary.backup(copy)
    link = servers.folder / "link"
    os.symlink(name, link)
    os.replace(link, servers.folder / "app.replica-1.db")
    return name


async def test_a_connection_to_a_replaced_file_is_not_judged_by_the_new_one(
    servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The moment before a connection's file is looked at.
    monkeypatch.setattr(engines, "_LOOK", 3600)
    async with servers.migrated():
        pass
    async with servers.elsewhere(max_wait=0) as db:
        replica = db.cluster.replicas[0]
        replica.fail(OSError())
        db.cluster.replicas[1].fail(OSError())
        await replica.probe()
        async with db.session() as session:
            await session.scalar(select(func.count()).select_from(User))
            assert session.last_route.server == "replica-1"  # its connection stays in the pool
        async with db.begin() as session:
            session.add(User(email="a"))
        token = await session.bookmark()
        name, head = replace_with_copy_of_primary(servers), db.cluster.primary.knowledge.at
        replica.learn(name, head)

        def probed(_: object) -> None:
            replica.learn(name, head)

        # The old file answers that it is behind; then the watcher hears from the new one.
        event.listen(replica.engine.sync_engine, "rollback", probed, once=True)
        async with db.session(token) as session:
            assert await session.scalar(select(func.count()).select_from(User)) == 1


async def test_a_bookmark_is_handed_out_while_a_replica_is_being_replaced(servers) -> None:
    async with servers.migrated() as db:
        async with db.session() as session:
            await session.scalar(select(func.count()).select_from(User))
            assert session.last_route.role == "replica"
            await session.rollback()

            def replaced(*_: object) -> None:
                raise DisconnectionError("the file was replaced, again")

            for replica in db.cluster.replicas:
                event.listen(replica.engine.sync_engine, "checkout", replaced)
            assert await session.bookmark()
