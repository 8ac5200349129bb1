"""Alembic runs this file for each of its commands."""

from orm import migrations
from orm.demo.models import Base

migrations.run(Base.metadata)
