"""The servers' own programs from Debian's packages, unpacked into a folder: nothing is installed.

Run it once on a machine with ``apt-get``, as any user::

    python -m orm.testing.mysql mariadb mysql

The packages come from the mirror, and by the proxy, that the machine's own apt is set up with, and
are verified with Debian's keys. They bring the C library that they were built with, so the suite
need not be the machine's.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from orm._cache import cache
from orm.exceptions import ConfigurationError

__all__ = ["Flavour", "main", "unpack"]

Flavour = Literal["mariadb", "mysql"]

_PACKAGES: Final[dict[Flavour, tuple[str, tuple[str, ...]]]] = {
    "mariadb": ("bookworm", ("mariadb-server-core",)),
    "mysql": ("sid", ("mysql-server-core",)),
}
"""The suite of Debian and the packages of each; MySQL is in no stable suite."""

# Depended on for the scripts of a service, which none of the programs is here.
_NEEDLESS: Final = re.compile(
    r"(adduser|debconf|galera|init-system|libterm|libdbi|mariadb-client|passwd|perl|psmisc|rsync"
    r"|socat|systemd)"
)
_KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_MIRROR: Final = re.compile(r"\bhttps?://\S+/debian/?(?=\s|$)", re.MULTILINE)
_DEFAULT_MIRROR: Final = "http://deb.debian.org/debian"
_SOURCES: Final = ("/etc/apt/sources.list", "/etc/apt/sources.list.d/debian.sources")
_URI: Final = re.compile(r"^'[^']+' (?P<file>(?P<package>[^_]+)_\S+\.deb) ", re.MULTILINE)


def unpack(flavour: Flavour) -> Path:
    """Have the programs in the `cache`; does nothing if they are there.

    Returns:
        The folder.

    Raises:
        ConfigurationError: there is no ``apt-get`` here, or it cannot have the packages; says what
            it said.
    """
    folder = cache(flavour)
    if folder.is_dir():
        return folder
    if shutil.which("apt-get") is None or not _KEYRING.is_file():
        raise ConfigurationError(
            f"there is no apt-get with Debian's keys here to fetch {flavour}'s programs with: set "
            "ORM_MYSQL_PROGRAMS to a folder that has them"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        apt, root = _private_apt(flavour, Path(scratch)), Path(scratch) / "root"
        files = _download(apt, flavour, Path(scratch))
        root.mkdir()
        for file in files:
            _run("dpkg", "-x", file, root)
        root.chmod(0o755)
        try:
            root.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first
                raise
    return folder


def _private_apt(flavour: Flavour, scratch: Path) -> list[str | Path]:
    """An ``apt-get`` that knows one suite, and keeps everything in a folder of its own."""
    suite, _ = _PACKAGES[flavour]
    mirror = next(_mirrors(), _DEFAULT_MIRROR)
    source = f"deb [signed-by={_KEYRING}] {mirror} {suite} main\n"
    (scratch / "sources.list").write_text(source)
    for name in ("state/lists/partial", "cache/archives/partial", "parts"):
        (scratch / name).mkdir(parents=True)
    (scratch / "status").touch()
    options = {
        "Dir::Etc::SourceList": scratch / "sources.list",
        "Dir::Etc::SourceParts": scratch / "parts",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": scratch / "parts",
        "Dir::State": scratch / "state",
        "Dir::State::Status": scratch / "status",
        "Dir::Cache": scratch / "cache",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Debug::NoLocking": "true",
    }
    return ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items())]


def _mirrors() -> Iterator[str]:
    for name in _SOURCES:
        if Path(name).is_file():
            yield from (found[0].rstrip("/") for found in _MIRROR.finditer(Path(name).read_text()))


def _download(apt: list[str | Path], flavour: Flavour, scratch: Path) -> list[Path]:
    _, packages = _PACKAGES[flavour]
    _run(*apt, "update")
    needed = {
        found["package"]: found["file"]
        for found in _URI.finditer(_run(*apt, "install", "--print-uris", *packages))
        if not _NEEDLESS.match(found["package"])
    }
    # Into the current folder, one by one: what they depend on was left out.
    archives = scratch / "cache" / "archives"
    _run(*apt, "download", *needed, cwd=archives)
    return sorted(archives.glob("*.deb"))


def _run(*command: str | Path, cwd: Path | None = None) -> str:
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=os.environ | {"LC_ALL": "C"}
    )
    if done.returncode:
        raise ConfigurationError(f"{command[0]} failed: {done.stderr.strip() or done.stdout}")
    return done.stdout


def main(flavours: list[str]) -> int:
    """Unpack what is named; say where it is.

    Args:
        flavours: ``"mariadb"``, ``"mysql"``.

    Returns:
        The exit code.
    """
    named: list[Flavour] = [flavour for flavour in _PACKAGES if flavour in flavours]
    if not flavours or len(named) != len(set(flavours)):
        sys.stderr.write(f"name what is to be unpacked: {' '.join(_PACKAGES)}\n")
        return 2
    for flavour in named:
        sys.stdout.write(f"{unpack(flavour)}\n")
    return 0
