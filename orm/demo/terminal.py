"""What the library is for, in a few seconds: one write, and four reads that look for it.

A primary and two replicas that follow it with a delay, as real files in a temporary folder:
`orm demo --once`.
"""

import asyncio
import os
import sys
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Final

import click
from sqlalchemy import URL, select

from orm import migrations
from orm.database import Database
from orm.demo.models import FOLDER, Post, User
from orm.session import BookmarkSession
from orm.testing import caught_up, replicas

LAGS: Final = (0.5, 1.5)  # seconds by which each replica follows the primary
FIND: Final = select(Post.id).where(Post.title == "Second thoughts")


async def story(url: URL) -> None:
    """One write, four reads."""
    await migrations.apply(url, folder=FOLDER)
    async with Database(url, replicas=len(LAGS)) as db:
        async with db.begin() as session:
            session.add(User(id=1, name="Ada"))
        await caught_up(db)
        for _ in LAGS:  # open a connection to each replica: that is not part of the story
            async with db.session() as session:
                await session.scalar(FIND)
        for replica, lag in zip(replicas(db), LAGS, strict=True):
            replica.lag = lag
        print_head()

        async with db.session() as writer:
            writer.add(Post(user_id=1, title="Second thoughts", body="They are often better."))
            await writer.commit()
            written = perf_counter()

            async with db.session() as stranger:
                await look(db, stranger, "1 An unlinked session")
                explain("Nothing links it to the write: a replica that lags may serve it.")

            await look(db, writer, "2 The one that wrote it")
            explain("It waits a moment for a replica that has its write, then asks the primary.")

            token = await writer.bookmark()
            explain(f"Its bookmark: {style(token, BOLD)}")

        async with db.session(token) as follower:
            await look(db, follower, "3 One from its bookmark")
            explain("That string alone links it to the write: it may be in another process.")

        await replicas(db)[0].caught_up()
        async with db.session(token) as follower:
            await look(db, follower, f"4 One {perf_counter() - written:.1f} s later")
            explain("The replica that has the write serves it; the other one is left out.")


async def look(db: Database, session: BookmarkSession, label: str) -> None:
    """Look for the post in a session; print the outcome, and what it took."""
    began = perf_counter()
    found = await session.scalar(FIND)
    took = perf_counter() - began

    route = session.last_route
    assert route is not None  # it has just served a read
    behind = [server.behind for server in await db.status() if server.role == "replica"]
    columns = (
        style(f"\n{label:<25}", BOLD),
        style(f"{'missing':<8}", RED) if found is None else style(f"{'found':<8}", GREEN),
        f"{route.server:<9} {took * 1000:6.1f} {route.waited * 1000:7.1f}",
        *(f"{commits:9}" for commits in behind),
    )
    click.echo(" ".join(columns))
    explain(style(f"{route.server}: {route.reason}", DIM))


# The terminal ------------------------------------------------------------------------------

RED, GREEN, BOLD, DIM = "31", "32", "1", "2"


def print_head() -> None:
    """Print the names of the columns."""
    fast, slow = LAGS
    click.echo(
        f"\nA primary, and two replicas that follow it by {fast} and {slow} seconds. A post is"
    )
    click.echo("written to the primary; then four sessions look for it.\n")
    click.echo(f"{'ms':>51} {'ms':>7}   behind by commits")
    head = f"{'Session':<25} {'Post':<8} {'Served by':<9} {'took':>6} {'waited':>7}"
    click.echo(style(f"{head} replica-1 replica-2", BOLD))


def explain(sentence: str) -> None:
    """A sentence under a line."""
    click.echo(f"  {sentence}")


def style(text: str, code: str) -> str:
    """The text in a colour or weight, where the terminal has any and the user wants them."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if plain or not sys.stdout.isatty() else f"\x1b[{code}m{text}\x1b[0m"


def tell() -> None:
    """Tell the story in the terminal; it takes some seconds."""
    try:
        with TemporaryDirectory(prefix="bookmark-orm-demo-") as folder:
            asyncio.run(story(URL.create("sqlite+aiosqlite", database=f"{folder}/app.db")))
    except KeyboardInterrupt:
        sys.exit(130)
