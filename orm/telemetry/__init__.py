"""Where reads go, told to the monitoring of a running application.

`log_routes` needs nothing; `orm.telemetry.prometheus` and `orm.telemetry.opentelemetry` need the
extras of those names, and nothing else imports them. All are observers (`Database.observe`).
"""

from orm.telemetry.log import log_routes

__all__ = ["log_routes"]
