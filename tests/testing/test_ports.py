"""The port of a server that does not listen yet, or was killed."""

import socket
import sys
from pathlib import Path

import pytest

from orm.testing.postgresql.server import Server


def bind(port: int) -> None:
    """As a program does that wants this port, or is given one that nothing holds."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing holds it")
def test_no_other_program_is_given_it(tmp_path: Path) -> None:
    server = Server("one", tmp_path, tmp_path)
    port = server.port
    with pytest.raises(OSError, match="in use"):
        bind(port)
    del server
    bind(port)
