"""``orm migrations adopt``: a project that stock Alembic has migrated."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from orm.cli.migrations.common import explained, say_checkpoint
from orm.cli.project import SETTINGS, Project

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import URL

    from orm.migrations.compare.adopting import Archive
    from orm.migrations.compare.checkpoint import Checkpoint
    from orm.migrations.files.found_models import Models

__all__ = ["INI", "adopt", "adopt_here"]

INI: Final = "alembic.ini"
_DRIVERS: Final = {
    "sqlite": ("aiosqlite",),
    "postgresql": ("psycopg", "asyncpg"),
    "mariadb": ("asyncmy", "aiomysql"),
    "mysql": ("asyncmy", "aiomysql"),
}
"""Those that the library works with, of each engine; the first one that is installed is taken."""
_FOLDERS: Final = ("alembic", "migrations", "revisions", "orm_migrations")
_LOCAL_VARIABLE: Final = "ORM_LOCAL_URL"


@click.command()
@click.argument("name", default="checkpoint")
@click.option("--metadata", metavar="MODULE:NAME", help="The models, as app.models:Base.metadata.")
@click.option("--local", is_flag=True, help="Take the schema of the local database.")
@click.option("--remote", is_flag=True, help="Take that of the database that ORM_REMOTE_URL names.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def adopt(name: str, metadata: str | None, local: bool, remote: bool, as_json: bool) -> None:
    """Write a checkpoint that stands for the revisions of stock Alembic that are here.

    These stay as they are. The command writes a folder beside theirs, sets [tool.alembic]
    and [tool.orm] in pyproject.toml, and says what to do for each database. It replays the old
    revisions in an empty database; with --local or --remote, it takes the schema of that
    database, which has to be at their head. No database is changed. If it fails, or if the project
    was adopted before, nothing is written.
    """
    if local and remote:
        raise click.UsageError("give at most one of --local and --remote")
    target = "local" if local else "remote" if remote else None
    adopt_here(name, metadata=metadata, target=target, as_json=as_json)


def adopt_here(
    name: str = "checkpoint",
    *,
    metadata: str | None = None,
    target: str | None = None,
    as_json: bool = False,
) -> None:
    """Adopt the project in the working directory (`adopt`)."""
    with explained():
        from orm.migrations.application import Application
        from orm.migrations.compare import adopting
        from orm.migrations.target import engine_urls

        project = Project(Path(), quiet=as_json)
        project.refuse_a_second_history()
        config = _config(project)
        archive = adopting.archive_of(config)
        models = _models(archive, metadata)
        if not as_json:
            click.echo(f"Found {_what(archive, config)}.")
        with project.all_or_nothing():
            folder = next(one for one in _FOLDERS if not Path(one).exists())
            project.write_environment(folder, models)
            url, secret = _local(config)
            _keep_settings(project, config)
            project.set_table("tool.alembic", _alembic(archive, folder))
            if "local" not in project.settings.get("orm", {}):
                project.begin_table("tool.orm", f'local = "{url.render_as_string(False)}"')
            file = url.database if url.get_backend_name() == "sqlite" else None
            project.ignore(Path(file) if file else None)
            with _local_url(secret):
                made = adopting.adopt(Application.at(), archive, name, target)
                engines = list(engine_urls())
    if as_json:
        told = {"replaces": archive.heads, "engines": engines, **made.as_dict()}
        click.echo(json.dumps(told, indent=2))
    else:
        click.echo(f"wrote {made.path}, which stands for them: {made.tables} tables")
        if secret is not None:
            click.echo(
                f"The password of the local database is not in {SETTINGS}: set {_LOCAL_VARIABLE}."
            )
        click.echo(_tried_on(engines))
        click.echo(_what_to_do(archive, made))
    say_checkpoint(made)


def _config(project: Project) -> "Config":
    """The settings of the stock Alembic that is here.

    Raises:
        click.ClickException: there is none.
    """
    from alembic.config import Config

    toml = project.folder / SETTINGS
    ini = project.folder / INI
    if ini.exists():
        return Config(str(ini), toml_file=str(toml) if toml.exists() else None)
    if "alembic" in project.settings:
        return Config(toml_file=str(toml))
    raise click.ClickException(
        f"there is no {INI} here, and no [tool.alembic] in {SETTINGS}: for a project without "
        "Alembic, orm init"
    )


def _models(archive: "Archive", named: str | None) -> "Models":
    from orm.migrations.files.found_models import models_named, models_of

    if named is not None and ":" in named:
        return models_named(named)
    found = models_of(archive.scripts / "env.py") if named is None else None
    if found is None:
        raise click.ClickException(
            f"{archive.scripts / 'env.py'} does not say plainly where the models are: say it, with "
            "orm migrations adopt --metadata app.models:Base.metadata. Nothing was written"
        )
    return found


def _what(archive: "Archive", config: "Config") -> str:
    parts = [f"{len(archive.ids)} revisions in {', '.join(map(_relative, archive.folders))}"]
    if archive.merges:
        parts.append(f"{archive.merges} of them merge branches")
    if archive.downgrades:
        parts.append(f"{archive.downgrades} have a downgrade function")
    where = INI if config.config_file_name else SETTINGS
    heads = ", ".join(archive.heads)
    return f"{where}: {', '.join(parts)}; the head is {heads}. They stay as they are"


def _tried_on(engines: Sequence[str]) -> str:
    tried = f"From now on, each revision is tried on {' and '.join(engines)}"
    if len(engines) > 1:
        return f"{tried}."
    both = [*engines, "sqlite" if "postgresql" in engines else "postgresql"]
    return (
        f"{tried}, the engine of the local database. If there are databases of another engine, add "
        f"engines = {json.dumps(both)}, for example, to [tool.orm] in {SETTINGS}; orm migrations "
        "check tries the checkpoint on each of them then."
    )


def _what_to_do(archive: "Archive", made: "Checkpoint") -> str:
    heads = " ".join(archive.heads)
    old = f"alembic -c {INI} upgrade {'heads' if len(archive.heads) > 1 else heads}"
    return f"""
For each database that is at {heads}: the schema is compared, {made.revision} is recorded, and
nothing is run.
  orm migrations apply --local
  orm migrations apply --remote
A database that is behind comes there first, with
  {old}
A new database needs nothing else than apply.
When every database has {made.revision},
delete {INI} and {_relative(archive.scripts)}: plain alembic works on the new revisions then."""


def _relative(path: Path) -> str:
    return os.path.relpath(path)


# Settings ----------------------------------------------------------------------------------


def _keep_settings(project: Project, config: "Config") -> None:
    """Keep what ``[tool.alembic]`` says of the old revisions, which is about to be replaced."""
    if config.config_file_name is not None:
        return
    here = project.folder.absolute().as_posix()
    lines = ["[alembic]"]
    for name in ("script_location", "version_locations", "prepend_sys_path"):
        value: str | list[str] | None = config.get_alembic_option(name)
        if value is not None:
            values = [value] if isinstance(value, str) else value
            text = "\n    ".join(one.replace("%", "%%").replace(here, "%(here)s") for one in values)
            lines.append(f"{name} = {text}")
    project.write(INI, "\n".join((*lines, "path_separator = newline")) + "\n")


def _alembic(archive: "Archive", folder: str) -> list[str]:
    here = Path().absolute()
    relative = ["/".join(("%(here)s", *_parts(Path(path), here))) for path in archive.paths]
    quoted = ", ".join(f'"{path}"' for path in dict.fromkeys(relative))
    return [
        f'script_location = "%(here)s/{folder}"',
        f"prepend_sys_path = [{quoted}]",
        "revision_environment = true # `alembic revision` without --autogenerate is numbered too",
    ]


def _parts(path: Path, here: Path) -> tuple[str, ...]:
    return Path(os.path.relpath(path.absolute(), here)).parts


def _local(config: "Config") -> "tuple[URL, URL | None]":
    """The URL for ``[tool.orm]``, without its password; and with it, if it has one."""
    from orm.migrations.target import target_url

    url = _former(config) or target_url("local")
    if url.password is None:
        return url, None
    # `set` leaves out what is None.
    return url._replace(password=None), url


def _former(config: "Config") -> "URL | None":
    """The URL that stock Alembic's settings name, with a driver of ours; None if there is none."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(config.get_main_option("sqlalchemy.url") or "")
    except ArgumentError:
        return None
    engine, _, driver = url.drivername.partition("+")
    if engine == "driver":  # as `alembic init` writes it
        return None
    if driver not in (ours := _DRIVERS.get(engine, (driver,))):
        installed = next(filter(find_spec, ours), ours[-1])
        url = url.set(drivername=f"{engine}+{installed}")
    return url


@contextmanager
def _local_url(url: "URL | None") -> Iterator[None]:
    """Within the block, the local database has this URL, unless the environment names one."""
    if url is None or _LOCAL_VARIABLE in os.environ:
        yield
        return
    os.environ[_LOCAL_VARIABLE] = url.render_as_string(False)
    try:
        yield
    finally:
        del os.environ[_LOCAL_VARIABLE]
