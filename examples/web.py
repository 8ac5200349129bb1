"""An application whose users read their own writes: `uvicorn examples.web:app`, in a checkout."""

from fastapi import FastAPI
from sqlalchemy import select

from models import Post, User
from orm import Database
from orm.web import BookmarkMiddleware, lifespan
from orm.web.fastapi import RequestSession

db = Database("sqlite+aiosqlite:///app.db", replicas=2)
app = FastAPI(lifespan=lifespan(db))  # does not start on pending revisions
app.add_middleware(BookmarkMiddleware, database=db)


@app.post("/posts")
async def write(title: str, session: RequestSession) -> int:
    post = Post(user=User(email=f"{title}@example.org"), title=title, body="…")
    session.add(post)
    await session.flush()
    return post.id  # committed before the response, whose header has the bookmark


@app.get("/posts")
async def read(session: RequestSession) -> list[str]:
    return list(await session.scalars(select(Post.title)))  # as new as the client's bookmark
