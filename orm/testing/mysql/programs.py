"""The programs of MariaDB and MySQL: where they are, and how they are started."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orm._cache import cache
from orm.exceptions import ConfigurationError
from orm.testing.mysql.packages import Flavour

__all__ = ["Programs", "find"]

_VARIABLE: Final = "ORM_MYSQL_PROGRAMS"
_DAEMON: Final[dict[Flavour, str]] = {"mariadb": "mariadbd", "mysql": "mysqld"}
_LOADER: Final = "lib64/ld-linux-x86-64.so.2"
_SQL: Final = ("system_tables", "performance_tables", "system_tables_data", "sys_schema")
"""What ``mariadb-install-db`` runs, in this order, but for the help, and the anonymous account."""


@dataclass(frozen=True)
class Programs:
    """One server's program.

    Attributes:
        flavour: which of the two engines.
        daemon: its file.
        root: the folder in which its packages were unpacked; None if it is installed.
    """

    flavour: Flavour
    daemon: Path
    root: Path | None

    def command(self, *options: str) -> list[str]:
        """The command that runs it."""
        given = ["--no-defaults", *options]
        if os.geteuid() == 0:
            given.append("--user=root")
        if self.root is None:
            return [str(self.daemon), *given]
        usr, libraries = self.root / "usr", "lib/x86_64-linux-gnu"
        loader = next(path for path in (self.root / _LOADER, usr / _LOADER) if path.exists())
        path = f"{usr / libraries}:{self.root / libraries}"
        found = [f"--basedir={usr}", f"--lc-messages-dir={usr}/share/mysql"]
        if self.flavour == "mariadb":
            found.append(f"--plugin-dir={usr}/lib/mysql/plugin")
        # `--no-defaults` has to be the first option.
        first, *rest = given
        return [str(loader), "--library-path", path, str(self.daemon), first, *found, *rest]

    def create(self, data: Path) -> None:
        """Make the files of a new server, with the account ``root@localhost`` without a password.

        Raises:
            RuntimeError: it failed; with what the program said.
        """
        if self.flavour == "mysql":
            self._run(f"--datadir={data}", "--initialize-insecure")
            (data / "auto.cnf").unlink(missing_ok=True)  # each copy is a server of its own
            return
        data.mkdir(exist_ok=True)
        (data / "mysql").mkdir()
        script = "CREATE DATABASE IF NOT EXISTS mysql;\nUSE mysql;\n"
        script += "SET @auth_root_socket=NULL;\n"
        script += "\n".join(path.read_text() for path in self._bootstrap())
        self._run(
            *(f"--datadir={data}", f"--tmpdir={data}", "--innodb-log-file-size=16M"),
            *("--bootstrap", "--skip-log-bin"),
            stdin=script,
        )

    def _bootstrap(self) -> Iterable[Path]:
        share = (self.root or Path("/")) / "usr/share/mysql"
        if not share.is_dir():
            share = share.with_name("mariadb")
        for part in _SQL:
            yield next(
                path
                for path in (share / f"mariadb_{part}.sql", share / f"mysql_{part}.sql")
                if path.exists()
            )

    def _run(self, *options: str, stdin: str = "") -> None:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            self.command(*options), input=stdin, capture_output=True, text=True, cwd="/"
        )
        if done.returncode:
            raise RuntimeError(f"{self.daemon.name} failed: {done.stderr.strip()[-2000:]}")


def find(flavour: Flavour) -> Programs:
    """The programs of one engine: those that the environment names, those that were unpacked, or
    those that are installed.

    Raises:
        ConfigurationError: there are none.
    """
    name = _DAEMON[flavour]
    if named := os.environ.get(_VARIABLE):
        if (Path(named) / name).is_file():
            return Programs(flavour, Path(named) / name, None)
        raise ConfigurationError(
            f"{_VARIABLE}={named} has no {name}: set it to the folder that has it"
        )
    root = cache(flavour)
    if (daemon := root / "usr/sbin" / name).exists():
        return Programs(flavour, daemon, root)
    if installed := shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
        return Programs(flavour, Path(installed), None)
    raise ConfigurationError(
        f"there is no {name} here. Unpack it: python -m orm.testing.mysql {flavour}; or "
        f"set {_VARIABLE} to a folder that has it"
    )
