"""SQLAlchemy's bridge from its synchronous core to the event loop, named in one place.

`AdaptedConnection.run_async` is the documented bridge, but it takes a connection, and waiting for
a replica to catch up holds none. SQLAlchemy's own asyncio drivers are built on these names.
"""

from sqlalchemy.util.concurrency import await_, greenlet_spawn, in_greenlet

__all__ = ["await_", "greenlet_spawn", "in_greenlet"]
