"""The files that migrations need in a project."""

import os
import re
import shutil
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from orm.migrations.files.found_models import Models

__all__ = ["SETTINGS", "Project", "template"]

SETTINGS: Final = "pyproject.toml"
_SET_ASIDE: Final = "*.py.*.old"
"""What `create --amend` makes of the revision that it writes anew."""
_RUNS_HERE: Final = re.compile(
    r"\bmigrations\.run\(|^from orm\.migrations import .*\brun\b", re.MULTILINE
)
"""What an ``env.py`` of this library says."""
_TABLE: Final = r"^\[{}\][^\n]*\n(?:(?!\[)[^\n]*\n?)*"
"""A table of a TOML file, up to the next one."""


class Project:
    """A folder into which files are written: all of them or, if something fails, none.

    Args:
        folder: of the project.
        quiet: whether nothing is said of each file.
    """

    def __init__(self, folder: Path, *, quiet: bool = False) -> None:
        self.folder = folder
        self._quiet = quiet
        self._before: dict[Path, str | None] = {}
        self._made: list[Path] = []

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Say after the block what was written; if it fails, take that back."""
        try:
            yield
        except BaseException:
            for path, text in self._before.items():
                if text is None:
                    path.unlink(missing_ok=True)
                else:
                    path.write_text(text, "utf-8")
            for folder in reversed(self._made):
                shutil.rmtree(folder, ignore_errors=True)
            raise
        for path, text in self._before.items():
            if not self._quiet:
                click.echo(f"{'wrote' if text is None else 'changed'} {path}")

    def write(self, name: str, text: str) -> None:
        """Write a file, and the folders that it needs."""
        path = self.folder / name
        self._before.setdefault(path, path.read_text("utf-8") if path.exists() else None)
        for folder in reversed([one for one in path.parents if not one.exists()]):
            folder.mkdir()
            self._made.append(folder)
        path.write_text(text, "utf-8")

    @property
    def settings(self) -> dict[str, Any]:
        """The tables ``[tool.…]`` of its ``pyproject.toml``."""
        try:
            tools: dict[str, Any] = tomllib.loads(self._text(SETTINGS)).get("tool", {})
        except tomllib.TOMLDecodeError as error:
            raise click.ClickException(
                f"{self.folder / SETTINGS} cannot be read: {error}"
            ) from error
        return tools

    @property
    def environment(self) -> Path | None:
        """The ``env.py`` that its ``[tool.alembic]`` names; None if there is none."""
        location = self.settings.get("alembic", {}).get("script_location")
        if not isinstance(location, str):
            return None
        here = self.folder.absolute()
        found = here / location.replace("%(here)s", str(here)).replace("%%", "%") / "env.py"
        return found if found.is_file() else None

    @property
    def runs_here(self) -> bool:
        """Whether its ``env.py`` hands the revisions to this library."""
        environment = self.environment
        if environment is None:
            return False
        return _RUNS_HERE.search(environment.read_text("utf-8", errors="replace")) is not None

    def refuse_a_second_history(self) -> None:
        """See that it has no revisions of this library, beside which another line would begin.

        Raises:
            click.ClickException: it has some; says where, and what to do.
        """
        if (environment := self.environment) is None or not self.runs_here:
            return
        versions = environment.with_name("versions")
        names = [file.stem for file in sorted(versions.glob("[!_.]*.py"))]
        if not names:
            return
        where = os.path.relpath(versions, self.folder.absolute())
        raise click.ClickException(
            f"this project's revisions are in {where} already: "
            f"{' to '.join(dict.fromkeys((names[0], names[-1])))}. Nothing was written. To see "
            "which are applied: orm migrations list --local; to write the next one: "
            f'orm migrations create "what it does"; to begin anew, move the folder '
            f"{os.path.dirname(where)} away first"
        )

    def set_table(self, name: str, lines: Sequence[str]) -> None:
        """Write a table of ``pyproject.toml``, in the place of the one that it has."""
        text = self._text(SETTINGS)
        table = "".join(f"{line}\n" for line in (f"[{name}]", *lines))
        found = re.search(_TABLE.format(re.escape(name)), text, re.MULTILINE)
        if found:
            text = f"{text[: found.start()]}{table}\n{text[found.end() :]}".rstrip("\n") + "\n"
        else:
            text = f"{text.rstrip()}\n\n{table}".lstrip()
        self.write(SETTINGS, text)

    def begin_table(self, name: str, line: str) -> None:
        """Write the first line of a table of ``pyproject.toml``, which is made if it is missing."""
        text = self._text(SETTINGS)
        head = re.search(rf"^\[{re.escape(name)}\][^\n]*$", text, re.MULTILINE)
        if head:
            self.write(SETTINGS, f"{text[: head.end()]}\n{line}{text[head.end() :]}")
        else:
            self.set_table(name, [line])

    def ignore(self, database: Path | None) -> None:
        """Have Git leave out what `create --amend` sets aside, and what a local database makes.

        Args:
            database: the file of a local SQLite database; None for another one.
        """
        lines: list[str] = []
        if database is not None and not database.is_absolute():
            name = database.as_posix()
            stem = database.with_suffix("").as_posix()
            lines += [f"/{name}*", f"/{stem}.before-*", f"/{stem}.replica-*"]
        lines.append(_SET_ASIDE)
        text = self._text(".gitignore")
        missing = [line for line in lines if line not in text.splitlines()]
        if missing:
            begin = f"{text.rstrip()}\n" if text.strip() else ""
            self.write(".gitignore", begin + "".join(f"{line}\n" for line in missing))

    def write_environment(self, folder: str, models: "Models | None") -> None:
        """Write the files that Alembic runs.

        Args:
            folder: for them, within the project.
            models: where its models are; None for the module ``models``.
        """
        environment = template("env.py")
        if models is not None:
            imports = "\n".join(models.imports)
            environment = environment.replace("from models import Base\n", f"{imports}\n")
            environment = environment.replace("Base.metadata", models.metadata)
        self.write(f"{folder}/env.py", environment)
        self.write(f"{folder}/script.py.mako", template("script.py.mako"))

    def _text(self, name: str) -> str:
        path = self.folder / name
        return path.read_text("utf-8") if path.exists() else ""


def template(name: str) -> str:
    """The text of a file as a new application has it."""
    # Kept as .txt files, so that nothing imports them as modules.
    return (files("orm.cli") / "template" / f"{name}.txt").read_text("utf-8")
