"""References in a circle, and those that are added later, are in the first revision."""

import json
import subprocess
import sys

import pytest

from tests.migrations.support import ENGINES, Project
from tests.migrations.test_judge import ID, MAIN, created

pytestmark = pytest.mark.slow  # each replays and applies revisions

CIRCLES = {
    "use_alter": f"""
Table("nodes", metadata, {ID}, Column("element_id", Integer,
    ForeignKey("elements.id", use_alter=True, name="fk_of_node", ondelete="SET NULL"), index=True))
Table("elements", metadata, {ID}, Column("node_id", ForeignKey("nodes.id"), index=True))
""",
    "no circle": f"""
Table("nodes", metadata, {ID}, Column("element_id", Integer,
    ForeignKey("elements.id", use_alter=True, name="fk_of_node"), index=True))
Table("elements", metadata, {ID})
""",
    "of two": f"""
Table("a", metadata, {ID}, Column("b_id", ForeignKey("b.id"), index=True))
Table("b", metadata, {ID}, Column("a_id", ForeignKey("a.id"), index=True))
""",
    "of three, and of one": f"""
Table("a", metadata, {ID}, Column("b_id", ForeignKey("b.id", deferrable=True), index=True))
Table("b", metadata, {ID}, Column("c_id", ForeignKey("c.id"), index=True),
    Column("b_id", ForeignKey("b.id"), index=True))
Table("c", metadata, {ID}, Column("a_id", ForeignKey("a.id", ondelete="CASCADE"), index=True))
Table("d", metadata, {ID}, Column("a_id", ForeignKey("a.id"), index=True))
""",
    "without a name": f"""
metadata = MetaData()
Table("a", metadata, {ID}, Column("b_id", ForeignKey("b.id"), index=True))
Table("b", metadata, {ID}, Column("a_id", ForeignKey("a.id"), index=True))
""",
    "of two columns": f"""
metadata = MetaData()
Table("a", metadata, {ID}, Column("b1", Integer), Column("b2", Integer),
    ForeignKeyConstraint(["b1", "b2"], ["b.x", "b.y"], name="two"), Index("ix_a", "b1", "b2"))
Table("b", metadata, Column("x", Integer, primary_key=True), Column("y", Integer,
    primary_key=True), Column("a_id", ForeignKey("a.id"), index=True))
""",
}


@ENGINES
@pytest.mark.parametrize("models", CIRCLES.values(), ids=CIRCLES.keys())
def test_a_circle_is_made_and_dropped(project: Project, models: str) -> None:
    project.models(models)
    code, made, said = created(project, "start")
    assert code == 0, said
    assert made["left"] == []
    project.upgrade("orm")
    assert json.loads(project.orm("check", "--local", "--json").stdout) == []
    assert created(project, "again")[1] is None

    kept = f'\nTable("other", metadata, {ID})\n'
    project.models(kept)
    code, made, said = created(project, "drop", "--no-rename")
    assert code == 0, said
    project.orm("apply", "--local", "--yes", "--allow-data-loss")
    assert json.loads(project.orm("check", "--local", "--json").stdout) == []

    project.models(models + kept)
    code, made, said = created(project, "anew", "--no-rename")
    assert code == 0, said
    project.upgrade("orm")
    assert json.loads(project.orm("check", "--local", "--json").stdout) == []


@ENGINES
def test_the_same_file_whatever_the_hash(project: Project) -> None:
    models = "".join(
        text.replace("metadata = MetaData()\n", "")
        .replace('"a"', f'"a{n}"')
        .replace('"b"', f'"b{n}"')
        .replace('"c"', f'"c{n}"')
        .replace('"d"', f'"d{n}"')
        .replace('"a.', f'"a{n}.')
        .replace('"b.', f'"b{n}.')
        .replace('"c.', f'"c{n}.')
        .replace('"nodes', f'"nodes{n}')
        .replace('"elements', f'"elements{n}')
        .replace("ix_a", f"ix_a{n}")
        for n, text in enumerate(CIRCLES.values())
    )
    texts = set()
    for seed in ("0", "1", "2", "3"):
        project.models(models)
        for name, code in (("make", models), ("drop", "")):
            project.models(code)
            done = subprocess.run(
                [sys.executable, "-c", MAIN, "migrations", "create", name, "--no-rename"],
                cwd=project.folder,
                env={"PYTHONHASHSEED": seed, "PATH": ""},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
        files = [project.file(name) for name in project.revisions]
        texts.add("".join(text.read_text().partition("import sqlalchemy")[2] for text in files))
        for file in files:
            file.unlink()
    assert len(texts) == 1
