"""``check``: whether models, revisions and a database say the same."""

from orm.backends import backend_for, migrations_for
from orm.migrations.application import Application
from orm.migrations.compare.differences import (
    Difference,
    drift,
    of_broken,
    of_forms,
    of_models,
    on_engines,
    without_index,
)
from orm.migrations.compare.models import sides, with_models
from orm.migrations.compare.replay import replay
from orm.migrations.compare.sql import statements_of
from orm.migrations.connecting import on_a_connection
from orm.migrations.files.line import Finding, findings_in_files
from orm.migrations.files.revisions import read
from orm.migrations.ledger import table as ledger
from orm.migrations.ledger.state import look
from orm.migrations.target import engine_urls, target_url, wants_indexes

__all__ = ["check_database", "check_files", "lint_pending"]


def check_files(application: Application, target: str | None = None) -> list[Finding | Difference]:
    """What is wrong with the revisions, without any database; empty if nothing is.

    The revisions are one line of history, they make what the models say, and an index begins with
    every foreign key.

    Args:
        application: whose revisions.
        target: ``"local"`` or ``"remote"``, for the commands in the findings.

    Raises:
        MigrationError: a revision cannot be loaded, or fails; names its file and line. Or the
            models cannot be loaded.
    """
    files = read(application.versions)
    if broken := findings_in_files(files, target):
        return list(broken)  # they cannot be replayed
    urls = engine_urls(application.pyproject)
    indexed = wants_indexes(application.pyproject)
    found: dict[Difference, list[str]] = {}
    for engine, url in urls.items():
        last = files[-1].id if files else None
        with with_models(application, last, url=url) as (made, wanted):
            both = sides(made, wanted)
            bare = without_index(made.connection, made.metadata) if indexed else []
            for one in (*of_models(both), *of_forms(both), *of_broken(both.broken), *bare):
                found.setdefault(one, []).append(engine)
    return [on_engines(one, engines, len(urls)) for one, engines in found.items()]


def check_database(application: Application, target: str) -> list[Finding | Difference]:
    """Where a database differs from the revisions that are applied to it; writes nothing.

    That is: a file differs from what was applied, a revision is half done, or the schema was
    changed by hand since.

    Args:
        application: whose revisions.
        target: ``"local"`` or ``"remote"``.

    Raises:
        MigrationError: a revision cannot be loaded, or fails; names its file and line. Or the
            database cannot be read.
    """
    state = look(application, target)
    url = target_url(target, application.pyproject)
    if state.findings:
        return list(state.findings)  # there is nothing to compare the database with
    if state.resumes:
        return [state.resumes]  # it is between two revisions
    migrations = migrations_for(url)
    if migrations.is_absent(url):
        return []
    found = on_a_connection(backend_for(url).reader_engine(url), migrations.definitions, url=url)
    with replay(application, state.at, url=url, beside=True) as made:
        wanted = migrations.definitions(made.connection)
    ours = migrations.reserved_tables | {ledger.TABLE.name, ledger.VERSION.name}
    return list(drift(wanted, found, ours))


def lint_pending(application: Application, target: str) -> list[str]:
    """What the engine's linter says of the pending revisions; it may be wrong.

    Args:
        application: whose revisions.
        target: ``"local"`` or ``"remote"``: the database to whose engine they would be applied.

    Returns:
        Sentences; none if the engine has no linter.

    Raises:
        MigrationError: a revision cannot be loaded, or written as a script.
    """
    url = target_url(target, application.pyproject)
    migrations = migrations_for(url)
    pending = look(application, target).pending() if migrations.has_linter else []
    if not pending:
        return []
    said: list[str] = []
    texts = statements_of(application, pending, url.get_backend_name())
    for file, sql in zip(pending, texts, strict=True):
        found = migrations.lint(sql)
        if found is None:
            return ["the SQL was not linted: for that, pip install 'bookmark-orm[lint]'"]
        said += [f"{file.name}: {sentence}" for sentence in found]
    return said
