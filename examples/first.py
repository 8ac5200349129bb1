"""Write, read it back, and go on in another session. Run `alembic upgrade head` first."""

import asyncio
from uuid import uuid4

from sqlalchemy import select

from models import Post, User
from orm import BookmarkSession, Database

NEWEST = select(Post.title).order_by(Post.id.desc()).limit(1)


async def show_newest(session: BookmarkSession) -> None:
    title = await session.scalar(NEWEST)
    route = session.last_route
    assert route is not None  # it has just served a read
    print(f"{title!r} read from {route.server}: {route.reason}")


async def main() -> None:
    async with Database("sqlite+aiosqlite:///app.db", replicas=2) as db:
        async with db.session("first-primary") as session:
            author = User(email=f"{uuid4()}@example.org")
            author.posts.append(Post(title=f"Hello from {author.email:.8}", body="…"))
            session.add(author)
            await session.commit()  # on the primary
            await show_newest(session)  # on a replica that has it, else on the primary
            token = await session.bookmark()  # a string, for a cookie, a header or a queue

        async with db.session(token) as session:  # elsewhere, later: never older than the token
            await show_newest(session)


if __name__ == "__main__":
    asyncio.run(main())
