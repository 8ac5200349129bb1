"""A port that a program is told to listen at, and that no other program gets before it does."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["reserved_port"]


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port of the loopback interface, for one server.

    It is bound here, and not listened at. So the system gives it to no socket that asks for a free
    port, while a server that names it can listen there: servers set SO_REUSEADDR, as is done here.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]
