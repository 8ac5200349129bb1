"""The folder of the application, which may be above the one in which a command is given."""

import tomllib
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from orm.migrations.application import Application

__all__ = ["application_here", "enter_root", "from_here", "root"]


def root() -> Path:
    """The nearest folder, from the working directory upwards, whose ``pyproject.toml`` is for us.

    That is: it has ``[tool.orm]`` or ``[tool.alembic]``, or cannot be read. The working directory
    itself if there is none.
    """
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if _is_root(folder)), here)


def _is_root(folder: Path) -> bool:
    try:
        tools = tomllib.loads((folder / "pyproject.toml").read_text("utf-8")).get("tool", {})
    except OSError:
        return False
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return True  # what is wrong with it is said when it is read
    return "orm" in tools or "alembic" in tools


def enter_root() -> None:
    """Have the rest of the command run in `root`: paths in settings are relative to it."""
    folder = root()
    if folder != Path.cwd():
        click.get_current_context().with_resource(chdir(folder))


def application_here() -> "Application":
    """The application in `root`, in which the rest of the command runs.

    Raises:
        ConfigurationError: there is none; says what is missing.
    """
    from orm.migrations.application import Application

    enter_root()
    return Application.at()


def from_here(_context: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    """A path on the command line, which is relative to the folder in which the command is given."""
    return path if path is None or root() == Path.cwd() else path.absolute()
