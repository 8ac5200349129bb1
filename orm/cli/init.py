"""``orm init``: the files that an application needs for its migrations."""

from contextlib import chdir
from pathlib import Path
from typing import Final

import click

from orm.cli.project import SETTINGS, Project, template

__all__ = ["init"]

_ALEMBIC: Final = ("alembic/env.py", "alembic/script.py.mako")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
def init(folder: Path) -> None:
    """Write what migrations need into FOLDER, by default this one.

    These are alembic/env.py and alembic/script.py.mako, pyproject.toml, lines for .gitignore, and
    models.py with an example if there are no models. For an existing pyproject.toml, the command
    prints what to add. A project that stock Alembic migrates is adopted, as by orm migrations
    adopt. No file is overwritten. Where there are revisions already, nothing is written.
    """
    project = Project(folder)
    project.refuse_a_second_history()
    if _has_stock_alembic(project):
        from orm.cli.migrations.adopt import adopt_here

        with chdir(folder):
            adopt_here()
        return
    there = [name for name in _ALEMBIC if (folder / name).exists()]
    if there:
        raise click.ClickException(
            f"{folder.absolute()} has {' and '.join(there)} already: to begin anew, move these "
            "files away. Nothing was written"
        )
    try:
        with project.all_or_nothing():
            _write(project)
    except OSError as error:
        raise click.ClickException(str(error)) from error


def _write(project: Project) -> None:
    from orm.migrations.files.found_models import models_in

    folder = project.folder
    named = (folder / "models").exists() or (folder / "models.py").exists()
    models = models_in(folder) if folder.exists() and not named else None
    project.write_environment("alembic", models)
    if models is None and not named:
        project.write("models.py", template("models.py"))
    if not (folder / SETTINGS).exists():
        project.write(SETTINGS, template(SETTINGS))
    elif "alembic" not in project.settings:
        click.echo(f"Add to {folder / SETTINGS}:\n\n{template(SETTINGS)}", nl=False)
    project.ignore(Path("app.db"))
    if models is not None:
        click.echo(f"Found the models: alembic/env.py migrates {models.metadata}.")
    if models is not None or named:
        click.echo(
            'Next: orm migrations create "first", then orm migrations apply --local. A database '
            "that has the tables already: orm migrations baseline 0001 --local, or "
            "orm migrations baseline 0001 --remote."
        )


def _has_stock_alembic(project: Project) -> bool:
    if (project.folder / "alembic.ini").exists():
        return True
    return project.environment is not None and not project.runs_here
