"""What a developer prints says what it is, and no password."""

from orm import BookmarkSession, Database
from tests.conftest import Servers

URLS = ["postgresql+asyncpg://app:secret@db-1/app", "postgresql+asyncpg://app:secret@db-2/app"]


def test_a_database_and_its_servers_do_not_print_passwords() -> None:
    db = Database(URLS[0], replicas=URLS[1:])
    assert repr(db) == "<Database postgresql+asyncpg://app:***@db-1/app, 1 replica(s), not started>"
    assert repr(db.cluster.primary) == (
        "<Server db-1 (primary) postgresql+asyncpg://app:***@db-1/app: not asked yet>"
    )
    assert repr(db.cluster.replicas[0]) == (
        "<Server db-2 (replica) postgresql+asyncpg://app:***@db-2/app: not asked yet>"
    )


async def test_a_database_says_whether_it_is_open(servers: Servers) -> None:
    async with servers.database() as db:
        assert repr(db).endswith(", 2 replica(s), open>")
        assert repr(db.cluster.primary).endswith(f": {db.cluster.primary.knowledge.at!r}>")
    assert repr(db).endswith(", 2 replica(s), closed>")


async def test_a_session_says_what_it_has_seen_and_where(db: Database) -> None:
    async with db.session() as session:
        at = session.located
        assert repr(session) == f"<BookmarkSession at {at!r}, no transaction yet>"
        await session.connection()
        assert repr(session) == (
            f"<BookmarkSession at {at!r}, last on primary: the transaction may write>"
        )
    assert repr(BookmarkSession()) == "<BookmarkSession without a Database>"
