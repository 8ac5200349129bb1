"""The application whose revisions a command works on: the one in the working directory."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from orm.exceptions import ConfigurationError

__all__ = ["Application"]


@dataclass(frozen=True, slots=True)
class Application:
    """Where an application keeps its migrations.

    Attributes:
        pyproject: its ``pyproject.toml``, absolute.
        versions: the folder of the revision files.
    """

    pyproject: Path
    versions: Path

    @property
    def replaced(self) -> Path:
        """The folder of the revisions that a checkpoint stands for, beside `versions`."""
        return self.versions.with_name("replaced")

    @classmethod
    def at(cls, folder: Path = Path()) -> Self:
        """The application in a folder.

        Raises:
            ConfigurationError: the folder holds none; says what is missing.
        """
        # Without Alembic, whose import takes longer than to list a thousand revisions.
        pyproject = folder.absolute() / "pyproject.toml"
        try:
            settings = tomllib.loads(pyproject.read_text("utf-8")).get("tool", {}).get("alembic")
        except FileNotFoundError:
            raise ConfigurationError(
                f"there is no pyproject.toml in {folder.absolute()}: go to the folder of the "
                "application"
            ) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{pyproject} cannot be read: {error}") from error
        location = (settings or {}).get("script_location")
        if not isinstance(location, str):
            raise ConfigurationError(
                f"{pyproject} does not say where the migrations are: add [tool.alembic] with "
                'script_location = "%(here)s/alembic"'
            )
        if "version_locations" in settings:
            raise ConfigurationError(
                f"{pyproject} sets version_locations, and history is one line in one folder: "
                "delete it, and keep the revisions in the folder versions of script_location"
            )
        # Alembic's own substitution; a relative path is relative to the working directory.
        scripts = Path(location.replace("%(here)s", str(pyproject.parent)).replace("%%", "%"))
        if not scripts.is_dir():
            raise ConfigurationError(
                f"{pyproject} says that the migrations are in {scripts}, and there is no such "
                "folder"
            )
        return cls(pyproject, scripts.absolute() / "versions")
