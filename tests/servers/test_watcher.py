"""What is known of one server, as such."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import event, make_url
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import Pool

from orm import Bookmark
from orm.backends import backend_for
from orm.servers.server import Server

NEWER, OLDER = Bookmark.at("h", 5), Bookmark.at("h", 3)


@pytest.fixture
def server(tmp_path: Path) -> Server:
    url = make_url(f"sqlite+aiosqlite:///{tmp_path}/app.db")
    return Server("replica-1", "replica", url, backend_for(url))


def test_answer_that_was_overtaken_takes_nothing_back(server: Server) -> None:
    server.learn("one", NEWER)
    server.learn("one", OLDER)
    assert server.covers(NEWER)


def test_another_incarnation_may_be_older(server: Server) -> None:
    server.learn("one", NEWER)
    server.learn("two", OLDER)
    assert not server.covers(NEWER)
    assert server.covers(OLDER)


def test_another_incarnation_may_have_no_position(server: Server) -> None:
    server.learn("one", NEWER)
    server.learn("two", None)
    assert not server.covers(OLDER)


def test_proof_of_less_takes_nothing_back(server: Server) -> None:
    server.learn("one", NEWER)
    server.advance(OLDER)
    assert server.covers(NEWER)


def test_proof_of_more_leaves_what_is_known_of_other_lines(server: Server) -> None:
    left, on = Bookmark("h", (("1", 5),)), Bookmark("h", (("2", 7),))
    server.learn("one", Bookmark("h", (("1", 5), ("2", 6))))
    server.advance(on)
    assert server.covers(left.merge(on))


def test_proof_is_no_answer(server: Server) -> None:
    server.learn("one", OLDER)
    server.fail(OSError("gone"))
    server.advance(NEWER)
    assert server.knowledge.error == "gone"


def test_server_that_failed_covers_nothing_until_it_answers(server: Server) -> None:
    server.learn("one", NEWER)
    server.fail(OSError("gone"))
    assert not server.covers(OLDER)
    assert server.knowledge.error == "gone"
    server.learn("one", OLDER)
    assert server.covers(OLDER) and not server.covers(NEWER)
    assert server.knowledge.error is None


async def test_server_whose_connections_are_all_dropped_has_failed(server: Server) -> None:
    def dropped(*_: object) -> None:
        raise DisconnectionError("as when its file is replaced time and again")

    sqlite3.connect(str(server.url.database)).close()
    event.listen(Pool, "checkout", dropped)
    try:
        await server.probe()
    finally:
        event.remove(Pool, "checkout", dropped)
        await server.dispose()
    assert server.knowledge.error is not None


def test_log_says_once_that_a_server_is_gone_and_that_it_is_back(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="orm")
    server.learn("one", OLDER)  # for the first time: no news
    for _ in range(2):
        server.fail(OSError("gone"))
    for _ in range(2):
        server.learn("one", NEWER)
    assert [record.getMessage() for record in caplog.records if record.name == "orm.server"] == [
        "replica-1 serves no session until it answers again: gone",
        "replica-1 serves again",
    ]


def test_log_says_once_why_a_server_that_answers_is_refused(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="orm")
    server.learn("one", OLDER)
    server.fail(OSError("gone"))
    server.on_answer = lambda answering: answering.refuse("another has replaced it")
    for _ in range(3):
        server.learn("two", OLDER)
    server.on_answer = lambda _: None
    server.learn("two", NEWER)
    assert [record.getMessage() for record in caplog.records if record.name == "orm.server"] == [
        "replica-1 serves no session until it answers again: gone",
        "replica-1 serves no session: another has replaced it",
        "replica-1 serves again",
    ]
