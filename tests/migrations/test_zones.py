"""Columns that get a time zone."""

from tests.migrations.support import POSTGRESQL, Project

MODELS = """
Table(
    "users",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("Joined", DateTime(timezone={}), nullable=False),
)
"""


@POSTGRESQL
def test_the_zone_of_old_values_is_spelt_out(project: Project) -> None:
    project.models(MODELS.format(False))
    project.orm("create", "create users")
    project.upgrade("orm")
    project.query("INSERT INTO users VALUES (1, '2024-01-02 12:00:00')")
    project.models(MODELS.format(True))
    result = project.orm("create", "zones")
    assert result.exit_code == 0, result.output
    assert "are read as times of the zone UTC (AT TIME ZONE 'UTC')" in result.output
    text = project.file("0002_zones.py").read_text()
    assert "\"Joined\" AT TIME ZONE \\'UTC\\'" in text
    assert "name another zone" in " ".join(text.split())
    database = project.query("SELECT current_database()")[0][0]
    project.query(f"ALTER DATABASE \"{database}\" SET timezone = 'America/New_York'")
    project.upgrade("orm")
    [(kept,)] = project.query("SELECT \"Joined\" AT TIME ZONE 'UTC' FROM users")
    assert str(kept) == "2024-01-02 12:00:00"
    assert project.orm("check", "--local").output == "All is well.\n"


def test_there_is_nothing_to_write_on_sqlite(project: Project) -> None:
    project.models(MODELS.format(False))
    project.orm("create", "create users")
    project.models(MODELS.format(True))
    assert "nothing to write" in project.orm("create", "zones").output
