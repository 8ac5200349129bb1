"""Posts."""

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import ForeignKey, String, Text, func
from sqlalchemy.orm import Mapped, mapped_column, relationship

from orm.model import Base

if TYPE_CHECKING:
    from models.user import User


class Post(Base):
    """A text by a user; it goes when its user goes."""

    __tablename__ = "posts"
    __table_args__ = {"sqlite_autoincrement": True}  # the id of a deleted row is not given again

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    title: Mapped[str] = mapped_column(String(200))
    body: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    user: Mapped["User"] = relationship(back_populates="posts")
