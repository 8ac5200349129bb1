"""Running commands of Alembic: its environment, which commands are refused, upgrades."""
