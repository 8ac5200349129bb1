"""The schema of this repository: what the revisions in ``alembic/versions`` build."""

from models.post import Post
from models.user import User
from orm.model import Base

__all__ = ["Base", "Post", "User"]
