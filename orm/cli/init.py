"""``orm init``: the files that an application needs for its migrations."""

from importlib.resources import files
from pathlib import Path
from typing import Final

import click

__all__ = ["init"]

_ALEMBIC: Final = ("alembic/env.py", "alembic/script.py.mako")
_SETTINGS: Final = "pyproject.toml"


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
def init(folder: Path) -> None:
    """Write what migrations need into FOLDER, by default this one.

    These are alembic/env.py and alembic/script.py.mako, models.py with an example, and
    pyproject.toml. Existing models stay as they are; for an existing pyproject.toml, the command
    prints what to add. It never overwrites a file.
    """
    there = [name for name in _ALEMBIC if (folder / name).exists()]
    if there:
        raise click.ClickException(
            f"{folder.absolute()} has {' and '.join(there)} already: to begin anew, move these "
            "files away. Nothing was written"
        )
    try:
        for name in _ALEMBIC:
            _write(folder / name)
        if not (folder / "models").exists() and not (folder / "models.py").exists():
            _write(folder / "models.py")
        if not (folder / _SETTINGS).exists():
            _write(folder / _SETTINGS)
        elif "[tool.alembic]" not in (folder / _SETTINGS).read_text("utf-8"):
            click.echo(f"Add to {folder / _SETTINGS}:\n\n{_template(_SETTINGS)}", nl=False)
    except OSError as error:
        raise click.ClickException(str(error)) from error


def _write(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("x", encoding="utf-8") as new:  # x: fails if the file exists
        new.write(_template(file.name))
    click.echo(f"wrote {file}")


def _template(name: str) -> str:
    # Kept as .txt files, so that nothing imports them as modules.
    return (files("orm.cli") / "template" / f"{name}.txt").read_text("utf-8")
