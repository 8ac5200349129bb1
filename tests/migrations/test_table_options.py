"""What a table of MariaDB or MySQL says after its columns: charset, engine, comment, …"""

import pytest

from tests.migrations.support import MYSQL, MySQLProject

TABLES = """
Table("users", metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(50), nullable=False, unique=True),
    Column("text", Text),
    Column("state", Enum("new", "älter", name="state")),
    Column("shout", String(60), Computed("concat(name, '!')")),
    Column("code", String(9, collation="ascii_bin")),
    {options}
)
Table("posts", metadata,
    Column("id", Integer, primary_key=True),
    Column("by", ForeignKey("users.name")),
    {options}
)
"""
PLAIN = TABLES.replace('    Column("by", ForeignKey("users.name")),\n', "")


def models(project: MySQLProject, options: dict[str, str], tables: str = TABLES) -> None:
    """The tables with the options, in the words of the project's engine."""
    engine, _, _ = project.url.partition("+")
    words = ", ".join(f"{engine}_{name}={value!r}" for name, value in options.items())
    project.models(tables.format(options=words))


def begun(project: MySQLProject, options: dict[str, str], tables: str = TABLES) -> None:
    """A database with a row."""
    models(project, options, tables)
    done = project.orm("create", "users")
    assert done.exit_code == 0, done.output
    project.upgrade("orm")
    project.query("INSERT INTO users (name, text, state) VALUES ('ü', 'ö', 'älter')")


@MYSQL
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"charset": "utf8mb4"}, {"charset": "latin1"}),
        ({"charset": "latin1"}, {"charset": "utf8mb4"}),
        ({"charset": "utf8mb4", "collate": "utf8mb4_bin"}, {"collate": "utf8mb4_general_ci"}),
        ({"row_format": "COMPACT"}, {"row_format": "DYNAMIC", "comment": "those who; write = 1"}),
        ({"row_format": "COMPACT", "comment": "ROW_FORMAT=COMPACT"}, {}),
        ({"max_rows": "9", "stats_persistent": "1", "stats_sample_pages": "9"}, {"min_rows": "1"}),
    ],
)
def test_the_options_of_a_table_change(
    project: MySQLProject, old: dict[str, str], new: dict[str, str]
) -> None:
    begun(project, old)
    project.query("INSERT INTO posts (`by`) VALUES ('ü')")
    models(project, new)
    assert "table users" in project.orm("check").output
    done = project.orm("create", "options", "--no-rename")
    assert done.exit_code == 0, done.output
    project.upgrade("orm")
    assert project.orm("check", "--local").output == "All is well.\n"
    rows = project.query("SELECT name, text, state, shout FROM users JOIN posts ON `by` = name")
    assert rows == [("ü", "ö", "älter", "ü!")]
    # Not only the table's word for new columns.
    charsets = project.query(
        "SELECT DISTINCT t.table_collation = c.collation_name FROM information_schema.columns c"
        " JOIN information_schema.tables t USING (table_schema, table_name)"
        " WHERE table_schema = DATABASE() AND table_name IN ('users', 'posts')"
        " AND collation_name IS NOT NULL AND column_name <> 'code'"
    )
    assert charsets == [(1,)]


@MYSQL
def test_another_engine_for_a_table(project: MySQLProject) -> None:
    begun(project, {}, PLAIN)
    models(project, {"engine": "MyISAM"}, PLAIN)
    assert project.orm("create", "engine", "--no-rename").exit_code == 0
    project.upgrade("orm")
    assert project.orm("check", "--local").output == "All is well.\n"
    assert project.query("SELECT name FROM users") == [("ü",)]


@MYSQL
@pytest.mark.parametrize("charset", ["latin1", "utf8mb3", "ascii"])
def test_what_a_smaller_character_set_lacks_is_not_lost(
    project: MySQLProject, charset: str
) -> None:
    plain = PLAIN.replace("älter", "old")
    models(project, {"charset": "utf8mb4"}, plain)
    assert project.orm("create", "users").exit_code == 0
    project.upgrade("orm")
    project.query("INSERT INTO users (name, text) VALUES ('a', 'snow \U0001f328')")
    models(project, {"charset": charset}, plain)
    assert project.orm("create", "charset", "--no-rename").exit_code == 0
    said = project.refusal("orm")
    assert "Incorrect string value" in said, said
    assert "Update or delete such rows in the same revision" in said
    assert project.query("SELECT text FROM users") == [("snow \U0001f328",)]
    project.query("UPDATE users SET text = 'snow'")
    project.upgrade("orm")
    assert project.orm("check", "--local").output == "All is well.\n"


@MYSQL
def test_a_key_that_is_too_long_in_a_larger_character_set_is_said(project: MySQLProject) -> None:
    table = (
        'Table("t", metadata, Column("id", Integer, primary_key=True),'
        ' Column("name", String(1000), unique=True), {options})'
    )
    models(project, {"charset": "latin1"}, table)
    assert project.orm("create", "t").exit_code == 0
    models(project, {"charset": "utf8mb4"}, table)
    done = project.orm("create", "charset", "--no-rename")
    if project.url.startswith("mariadb"):  # which keeps such a key as a hash
        project.upgrade("orm")
        assert project.orm("check", "--local").output == "All is well.\n"
    else:
        assert "Specified key was too long" in done.output


@MYSQL
def test_a_text_that_is_too_long_in_a_larger_character_set_is_not_cut(
    project: MySQLProject,
) -> None:
    begun(project, {"charset": "latin1"})
    project.query("UPDATE users SET text = REPEAT('ü', 40000)")
    models(project, {"charset": "utf8mb4"})
    assert project.orm("create", "charset", "--no-rename").exit_code == 0
    assert "Data too long for column 'text'" in project.refusal("orm")
    assert project.query("SELECT CHAR_LENGTH(text) FROM users") == [(40000,)]
