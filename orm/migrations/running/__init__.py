"""What Alembic runs: a command, checked before it begins, and recorded."""
