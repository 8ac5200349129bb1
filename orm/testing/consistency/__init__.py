"""A claim that can be checked: record what sessions saw, and look whether it keeps the promises."""

from orm.testing.consistency.checker import Anomaly, Violation, check
from orm.testing.consistency.history import History, Operation, Seen

__all__ = ["Anomaly", "History", "Operation", "Seen", "Violation", "check"]
