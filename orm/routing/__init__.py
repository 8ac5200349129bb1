"""Where the transactions of one session run."""

from orm.routing.decision import Reason, Route

__all__ = ["Reason", "Route"]
