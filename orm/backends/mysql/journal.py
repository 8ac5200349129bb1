"""Which statements of a revision were begun, and which have ended: CREATE and ALTER commit.

A row is written for each statement before it is sent. DDL commits that row and then does all of its
work or nothing (MySQL "Atomic Data Definition Statement Support"); the row of an INSERT is
committed together with it. So of a run that was killed only one DDL statement can be in doubt, and
the catalog tells: it is as it was before that statement, or not. A later run leaves out what an
earlier one has done.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError

from orm.backends.mysql.asking import OnDriver
from orm.backends.mysql.definitions import what_is_shown
from orm.backends.mysql.driver import code, in_transaction
from orm.backends.mysql.state import latest
from orm.exceptions import MigrationError

__all__ = ["TABLE", "journal"]

_LOG: Final = logging.getLogger(__name__)

TABLE: Final = "orm_journal"
_CREATE: Final = f"""\
CREATE TABLE IF NOT EXISTS {TABLE} (
    revision VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    number INTEGER NOT NULL,
    checksum VARCHAR(64) CHARACTER SET ascii NOT NULL,
    statement LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    parameters VARCHAR(64) CHARACTER SET ascii NOT NULL,
    catalog VARCHAR(64) CHARACTER SET ascii,
    ended BOOLEAN NOT NULL,
    PRIMARY KEY (revision, number)
) ENGINE=InnoDB"""
_READ: Final = (
    f"SELECT revision, number, checksum, statement, parameters, catalog, ended FROM {TABLE}"
    " ORDER BY number"
)
_HALF_DONE: Final = f"SELECT revision, SUM(ended) FROM {TABLE} GROUP BY revision"
_BEGIN: Final = f"REPLACE INTO {TABLE} VALUES (%s, %s, %s, %s, %s, %s, %s)"
_END: Final = f"UPDATE {TABLE} SET ended = TRUE WHERE revision = %s AND number = %s"
_ANSWERED: Final = f"UPDATE {TABLE} SET catalog = %s WHERE revision = %s AND number = %s"
_TAKE_BACK: Final = f"DELETE FROM {TABLE} WHERE revision = %s AND number = %s"
_FORGET: Final = f"DELETE FROM {TABLE} WHERE revision = %s"

_BEGINNING: Final = r"(?:\s|\(|--[^\n]*(?:\n|$)|#[^\n]*(?:\n|$)|/\*(?!!).*?\*/)*"
_OF_SESSION: Final = re.compile(
    _BEGINNING + r"(?:(?:SELECT|SHOW|DESC|DESCRIBE|EXPLAIN|VALUES|TABLE|SET|USE|DO|SAVEPOINT|"
    r"RELEASE|ROLLBACK|CREATE\s+TEMPORARY|DROP\s+TEMPORARY)\b|WITH\b(?!.*\b(?:UPDATE|DELETE)\b))",
    re.IGNORECASE | re.DOTALL,
)
"""What is said anew in each run: it changes nothing, or nothing that outlives the connection."""
_DATA: Final = re.compile(
    _BEGINNING + r"(?:INSERT|UPDATE|DELETE|REPLACE|LOAD|WITH)\b", re.IGNORECASE | re.DOTALL
)
"""What is committed together with its row."""
_OPAQUE: Final = re.compile(_BEGINNING + r"(?:CALL|EXECUTE|BEGIN)\b", re.IGNORECASE | re.DOTALL)
"""What may commit in its middle, and do more than the catalog tells."""
_DROPS_SEVERAL: Final = re.compile(
    _BEGINNING + r"DROP\s+(?:TABLES?|VIEW)\b[^;]*,", re.IGNORECASE | re.DOTALL
)
"""On MariaDB that, too: it drops one after the other (MariaDB "Atomic DDL")."""
_ONE_NAME: Final = r"((?:`(?:[^`]|``)*`|[^\s,;`])+)"
_RENAMES: Final = re.compile(_BEGINNING + r"RENAME\s+TABLES?\b(.*)", re.IGNORECASE | re.DOTALL)
_PAIR: Final = re.compile(rf"{_ONE_NAME}\s+TO\s+{_ONE_NAME}", re.IGNORECASE)

_NOTHING: Final = "DO 0"
_NO_SUCH_TABLE: Final = 1146
_LONGEST: Final = 300
"""Characters of a statement that are shown."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A row: one statement of a revision.

    Attributes:
        catalog: of a statement that changes it, a digest of the catalog before it; of one that
            changes rows, what the server answered: the first new key, and the number of rows.
    """

    revision: str
    number: int
    checksum: str
    statement: str
    parameters: str
    catalog: str | None
    ended: bool


class _Journal:
    """The journal of a database (`orm.backends.Journal`)."""

    @contextmanager
    def resuming(self, connection: Connection, revision: str, checksum: str) -> Iterator[None]:
        driver = _Driver(connection)
        entries = _settled(connection, _of(_read(driver), revision))
        if entries:
            _LOG.info("%d statement(s) of %s were done already", len(entries), revision)
        run = _Run(connection, revision, checksum, entries)
        event.listen(connection, "before_cursor_execute", run.before, retval=True)
        event.listen(connection, "after_cursor_execute", run.after)
        try:
            yield
            run.finish()
        except Exception:
            # At once: what is done to correct the failure may change the catalog.
            with suppress(driver.asks.errors, DBAPIError):  # where that is gone, the next run does
                if not connection.invalidated:
                    driver.say("ROLLBACK")
                    _settled(connection, _of(_read(driver), revision))
            raise
        finally:
            event.remove(connection, "before_cursor_execute", run.before)
            event.remove(connection, "after_cursor_execute", run.after)

    def half_done(self, connection: Connection) -> dict[str, int]:
        """How many statements were done of each revision that is not recorded."""
        try:
            rows = connection.exec_driver_sql(_HALF_DONE)
        except DBAPIError as error:
            if code(error) != _NO_SUCH_TABLE:
                raise
            return {}
        return {revision: int(done) for revision, done in rows}


journal: Final = _Journal()


class _Driver:
    """The driver's connection, below SQLAlchemy's events."""

    def __init__(self, connection: Connection) -> None:
        dbapi = connection.connection.dbapi_connection
        assert dbapi is not None
        self._connection: Any = dbapi
        self.asks = OnDriver(dbapi)

    def say(self, statement: str, *values: object) -> None:
        cursor = self._connection.cursor()
        try:
            cursor.execute(statement, values or None)
        finally:
            cursor.close()

    @property
    def in_transaction(self) -> bool:
        """Whether the latest answer says that a transaction is open."""
        return in_transaction(getattr(self._connection, "driver_connection", self._connection))


def _read(driver: _Driver) -> list[_Entry]:
    try:
        rows = driver.asks.rows(_READ)
    except driver.asks.errors as error:
        if code(error) != _NO_SUCH_TABLE:
            raise
        driver.say(_CREATE)
        rows = []
    return [_Entry(**{**row, "ended": bool(row["ended"])}) for row in rows]


def _of(entries: list[_Entry], revision: str) -> list[_Entry]:
    """Those of one revision.

    Raises:
        MigrationError: another one is half done.
    """
    others = {entry.revision for entry in entries} - {revision}
    if others:
        raise MigrationError(
            f"revision {min(others)} is half done, and its file is not the next one: {TABLE} has "
            "its statements. Give the revision its number back, and apply"
        )
    return entries


def _settled(connection: Connection, entries: list[_Entry]) -> list[_Entry]:
    """Those that were done, after the last one was judged, if it was begun and has not ended."""
    if not entries or entries[-1].ended:
        return entries
    *done, last = entries
    driver, of_last = _Driver(connection), (last.revision, last.number)
    if last.catalog is None:
        raise MigrationError(
            f"statement {last.number} of {last.revision} was begun, and did not come to its end: "
            f"{_shown(last.statement)}. It may commit in its middle, and what it did is not "
            "known here. If all of it: "
            f"UPDATE {TABLE} SET ended = TRUE WHERE revision = '{last.revision}' AND number = "
            f"{last.number}. If nothing: DELETE FROM {TABLE} WHERE revision = '{last.revision}' "
            f"AND number = {last.number}. Then apply again"
        )
    was_done = last.catalog != _digest_of(connection)
    driver.say(_END if was_done else _TAKE_BACK, *of_last)
    driver.say("COMMIT")
    return entries if was_done else done


def _digest_of(connection: Connection) -> str:
    """Of all that is defined in the database, as far as the account sees it.

    The order of columns tells of two that have swapped their names.
    """
    shown = what_is_shown(connection)
    return _digest((sorted(shown.items()), [one for one in shown if one.kind == "column"]))


def _digest(what: object) -> str:
    return sha256(repr(what).encode()).hexdigest()


def _shown(statement: str) -> str:
    return " ".join(statement.split())[:_LONGEST]


def _swaps(statement: str) -> bool:
    """Whether tables swap their names, after which the catalog may be what it was before."""
    found = _RENAMES.match(statement)
    pairs = _PAIR.findall(found[1]) if found else []
    return not {old for old, _ in pairs}.isdisjoint(new for _, new in pairs)


def _answer_again(context: Any, done: _Entry) -> None:
    """Have SQLAlchemy give what the server answered, which the revision may go by."""
    if done.catalog is None or " " not in done.catalog:
        return
    key, rows = map(int, done.catalog.split())
    context.get_lastrowid = lambda: key
    context._rowcount = rows  # it asks the cursor unless it knows, and has no other place for it


class _Run:
    """One run of a revision: it listens to what the revision says."""

    def __init__(
        self, connection: Connection, revision: str, checksum: str, done: list[_Entry]
    ) -> None:
        self._driver = _Driver(connection)
        self._mariadb: bool = latest(connection).mariadb
        self._revision = revision
        self._checksum = checksum
        self._done = done
        self._number = 0
        self._runs = False
        """Whether the statement that runs now has a row."""
        self._is_data = False
        """Whether it changes rows."""

    def before(
        self,
        connection: Connection,
        _cursor: object,
        statement: str,
        parameters: Any,
        context: Any,
        _many: bool,
    ) -> tuple[str, Any]:
        """Write the row of a statement; or put nothing in its place, if it was done.

        Raises:
            MigrationError: another statement was done in its place.
        """
        self._runs = False
        if _OF_SESSION.match(statement):
            return statement, parameters
        self._number += 1
        if self._number <= len(self._done):
            done = self._done[self._number - 1]
            self._compare(done, statement, _digest(parameters))
            _answer_again(context, done)
            return _NOTHING, ()
        is_data = _DATA.match(statement) is not None
        catalog = None if is_data or self._is_opaque(statement) else _digest_of(connection)
        self._driver.say(
            _BEGIN,
            *(self._revision, self._number, self._checksum, statement, _digest(parameters)),
            *(catalog, is_data),
        )
        self._runs, self._is_data = True, is_data
        return statement, parameters

    def _is_opaque(self, statement: str) -> bool:
        several = self._mariadb and _DROPS_SEVERAL.match(statement) is not None
        return several or _swaps(statement) or _OPAQUE.match(statement) is not None

    def after(self, _connection: object, cursor: Any, *_: object) -> None:
        """Write that a statement has ended, or what the server has answered."""
        if not self._runs:
            return
        self._runs = False
        if self._is_data:
            answer = f"{cursor.lastrowid or 0} {cursor.rowcount}"
            self._driver.say(_ANSWERED, answer, self._revision, self._number)
            return
        committed = not self._driver.in_transaction
        self._driver.say(_END, self._revision, self._number)
        if committed:
            self._driver.say("COMMIT")

    def finish(self) -> None:
        """Forget the revision, in the transaction in which it is recorded.

        Raises:
            MigrationError: more statements were done than it has.
        """
        if self._number < len(self._done):
            raise MigrationError(self._changed(self._done[self._number], "nothing"))
        self._driver.say(_FORGET, self._revision)

    def _compare(self, done: _Entry, statement: str, parameters: str) -> None:
        same = done.statement == statement and (
            # A file that is the same may say other values, such as the time.
            parameters == done.parameters or self._checksum == done.checksum
        )
        if not same:
            now = _shown(statement)
            what = now if now != _shown(done.statement) else "the same with other values"
            raise MigrationError(self._changed(done, what))

    def _changed(self, done: _Entry, now: str) -> str:
        return (
            f"its statement {done.number} was done by an earlier run, and is another one now. It "
            f"was: {_shown(done.statement)}. It is: {now}. MariaDB and MySQL cannot take it back: "
            "put the text of what was done back, and write what corrects it after it"
        )
