"""Alembic runs this file for each of its commands."""

from models import Base
from orm import migrations

migrations.run(Base.metadata)
