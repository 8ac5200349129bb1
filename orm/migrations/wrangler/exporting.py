"""``export --wrangler`` and ``check --wrangler``: revisions and wrangler's folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any, Final

from sqlalchemy import URL

from orm.backends import Script, migrations_for
from orm.backends.sqlite import d1
from orm.exceptions import ConfigurationError, MigrationError
from orm.migrations.application import Application
from orm.migrations.compare.differences import Difference, drift
from orm.migrations.compare.replay import replay
from orm.migrations.compare.sql import scripts_of
from orm.migrations.files.line import Finding, findings_in_files, refuse, up_to
from orm.migrations.files.revisions import read as read_revisions
from orm.migrations.ledger import table as ledger
from orm.migrations.revision import Revision
from orm.migrations.target import target_url
from orm.migrations.wrangler.folder import File, agreement, name_of, next_number, read, text_of

__all__ = ["Exported", "check_folder", "export"]

_ENGINE: Final = "sqlite"
_HAS_IT: Final = (
    "-- The database had this schema before it had revisions: there is nothing to do.\n"
)


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export has written.

    Attributes:
        new: the files that were not there before.
        kept: how many revisions had a file already.
        remarks: sentences about new files, for people.
    """

    new: Sequence[Path]
    kept: int
    remarks: Sequence[str]


def export(application: Application, folder: Path, *, baseline: str | None = None) -> Exported:
    """Write a file of wrangler's for each revision that has none yet; no other file is touched.

    Args:
        application: whose revisions.
        folder: the folder of wrangler's migrations (``migrations_dir``); made if it is missing.
        baseline: the last revision whose schema the databases have without it: the files up to it
            do nothing.

    Raises:
        ConfigurationError: the revisions are not for SQLite.
        MigrationError: files and revisions do not agree, a revision has no script, or D1 would
            refuse one; nothing was written.
    """
    url = _url(application)
    revisions = read_revisions(application.versions)
    refuse(findings_in_files(revisions))
    files = read(folder)
    refuse(agreement(files, revisions))
    exported = {file.revision for file in files}
    new = [revision for revision in revisions if revision.id not in exported]
    stubs: list[Revision] = []
    if baseline is not None:
        stubs = up_to(revisions, baseline)
        if len(new) < len(revisions):
            raise MigrationError(
                f"{folder} has files of revisions already: a baseline is what comes before them"
            )
    scripted = new[len(stubs) :]
    scripts = scripts_of(application, scripted, url) if scripted else []
    bodies = [_HAS_IT] * len(stubs)
    said: list[str] = []
    refused: list[str] = []
    for revision, script, refusals in zip(
        scripted, scripts, _refusals(application, url, scripted, scripts), strict=True
    ):
        bodies.append(_body(script))
        refused += [f"{revision.name}.py: {sentence}" for sentence in refusals]
        said += [f"{revision.name}: {sentence}" for sentence in _remarks(script)]
    if refused:
        raise MigrationError(".\n".join([*refused, "Nothing was written"]))
    number = next_number(files)
    paths = [folder / name_of(revision, number + at) for at, revision in enumerate(new)]
    folder.mkdir(parents=True, exist_ok=True)
    for path, revision, body in zip(paths, new, bodies, strict=True):
        with path.open("xb") as file:  # as it is: no line ending of the system's
            file.write(text_of(revision, body).encode())
    return Exported(paths, len(revisions) - len(new), said)


def check_folder(
    application: Application, folder: Path, schema: Path | None = None
) -> list[Finding | Difference]:
    """Where wrangler's files, and a schema that it has exported, differ from the revisions.

    Args:
        application: whose revisions.
        folder: the folder of wrangler's migrations.
        schema: what ``wrangler d1 export --no-data`` has written.

    Raises:
        ConfigurationError: the revisions are not for SQLite.
        MigrationError: a file cannot be read, or a revision cannot be replayed.
    """
    url = _url(application)
    revisions = read_revisions(application.versions)
    if findings_in_files(revisions):
        return []  # which the check of the revisions says itself
    files = read(folder)
    if not folder.is_dir():
        raise MigrationError(
            f"there is no folder {folder}: it is made by "
            f"orm migrations export --wrangler {quote(str(folder))}"
        )
    found: list[Finding | Difference] = [*agreement(files, revisions)]
    exported = {file.revision for file in files}
    found += [
        Finding(
            "gap",
            revision.id,
            f"{revision.name}.py has no file in {folder}: "
            f"orm migrations export --wrangler {quote(str(folder))}",
        )
        for revision in revisions
        if revision.id not in exported and not found
    ]
    if schema is not None:
        found += _drift(application, url, files, schema)
    return found


def _url(application: Application) -> URL:
    url = target_url("local", application.pyproject)
    if url.get_backend_name() != _ENGINE:
        raise ConfigurationError(
            "wrangler's migrations are for D1, which is SQLite, and [tool.orm] local in "
            f"{application.pyproject} is {url.get_backend_name()}: only revisions that are "
            'replayed on SQLite can be exported, as with local = "sqlite+aiosqlite:///app.db"'
        )
    return url


# Files -------------------------------------------------------------------------------------


def _body(script: Script) -> str:
    return "".join(f"\n{d1.in_one_line(statement)}\n" for statement in script.statements) or (
        "-- There is nothing to do.\n"
    )


def _refusals(
    application: Application, url: URL, revisions: Sequence[Revision], scripts: Sequence[Script]
) -> list[list[str]]:
    """What D1 would refuse of each script."""
    if not scripts:
        return []
    with replay(application, revisions[0].down, url=url) as made:
        driver: Any = made.connection.connection.driver_connection
        rules = d1.Rules(driver)
    try:
        return [list(rules.refusals(script.statements)) for script in scripts]
    finally:
        rules.close()


def _remarks(script: Script) -> list[str]:
    said = list(d1.remarks(script.statements))
    if script.rewritten:
        each = [f"{rows} rows for each of {table}" for table, rows in script.rewritten.items()]
        said.insert(
            0, f"it writes tables anew, and D1 bills rows that are written: {', '.join(each)}"
        )
    return said


# A schema ------------------------------------------------------------------------------------


def _drift(
    application: Application, url: URL, files: Sequence[File], schema: Path
) -> list[Difference]:
    last = [file.revision for file in files if file.revision is not None]
    migrations = migrations_for(url)
    with migrations.scratch(url) as connection:
        driver: Any = connection.connection.driver_connection
        try:
            driver.executescript(schema.read_text("utf-8-sig"))
        except (driver.Error, UnicodeDecodeError) as error:
            raise MigrationError(f"{schema} is no schema of SQLite: {error}") from error
        found = migrations.definitions(connection)
    with replay(application, last[-1] if last else None, url=url) as made:
        wanted = migrations.definitions(made.connection)
    ours = migrations.reserved_tables | {ledger.TABLE.name, ledger.VERSION.name}
    return list(drift(wanted, found, ours))
