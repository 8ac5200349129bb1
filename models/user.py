"""Users."""

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import String, func
from sqlalchemy.orm import Mapped, mapped_column, relationship

from orm.model import Base

if TYPE_CHECKING:
    from models.post import Post


class User(Base):
    """An author, known by an email address of their own."""

    __tablename__ = "users"
    __table_args__ = {"sqlite_autoincrement": True}  # the id of a deleted row is not given again

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(320), unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    posts: Mapped[list["Post"]] = relationship(
        back_populates="user", cascade="all, delete-orphan", passive_deletes=True
    )
