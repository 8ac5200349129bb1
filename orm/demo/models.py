"""Users and their posts, in a schema of the demo's own."""

from pathlib import Path
from typing import Any, Final

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

__all__ = ["FOLDER", "Base", "Post", "User"]

FOLDER: Final = Path(__file__).parent
"""Of the application: its ``pyproject.toml`` and its revisions."""


class Base(DeclarativeBase):
    """Not `orm.Base`, whose models are those of an application."""


class User(Base):
    """An author."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100))


class Post(Base):
    """A text by an author."""

    __tablename__ = "posts"
    __table_args__: Any = {
        "sqlite_autoincrement": True
    }  # the id of a deleted row is not given again

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    title: Mapped[str] = mapped_column(String(200))
    body: Mapped[str] = mapped_column(Text)

    user: Mapped[User] = relationship()
