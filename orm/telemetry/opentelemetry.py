"""Traces and metrics for OpenTelemetry. Needs the extra ``opentelemetry``."""

from collections.abc import Callable, Iterable
from functools import partial
from time import time_ns
from typing import Final, Literal

from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.trace import TracerProvider

from orm._given import instance
from orm.database import Database
from orm.exceptions import DatabaseClosed
from orm.routing import Route

__all__ = ["instrument"]

_SCOPE: Final = "orm"


def instrument(
    database: Database,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> Callable[[], None]:
    """Tell OpenTelemetry where transactions go, how long reads wait, and each server's lag.

    The current span gets an event ``orm.route`` for each transaction, and a child ``orm.wait`` for
    the time that a read waited. Metrics: ``orm.transactions``, ``orm.wait.duration`` (seconds),
    ``orm.server.behind`` (commits, or bytes of the log), ``orm.server.lag`` (seconds, at most),
    ``orm.server.timeline``.

    Args:
        database: whose servers and routes are told.
        tracer_provider: by default, the global one.
        meter_provider: by default, the global one.

    Returns:
        Ends it, when called.

    Raises:
        ConfigurationError: there is no Database.
    """
    instance("database", database, Database, "a Database")
    tracer = trace.get_tracer(_SCOPE, tracer_provider=tracer_provider)
    meter = metrics.get_meter(_SCOPE, meter_provider=meter_provider)
    transactions = meter.create_counter(
        "orm.transactions", description="Transactions, by the server that they went to."
    )
    waits = meter.create_histogram(
        "orm.wait.duration", "s", "How long reads waited for a replica to catch up."
    )
    observed = True

    def told(
        what: Literal["behind", "seconds", "timeline"], _: CallbackOptions
    ) -> Iterable[Observation]:
        try:
            servers = database.last_status() if observed else []
        except DatabaseClosed:
            servers = []
        for server in servers:
            number: float | None = getattr(server, what)
            if number is not None:
                attributes = {
                    "orm.server": server.name,
                    "orm.role": server.role,
                    "orm.host": server.host or "",
                }
                yield Observation(number, attributes)

    meter.create_observable_gauge(
        "orm.server.behind",
        [partial(told, "behind")],
        "1",
        "Commits, or bytes of the log, that a server lacks.",
    )
    meter.create_observable_gauge(
        "orm.server.lag",
        [partial(told, "seconds")],
        "s",
        "How long a replica is behind the primary, at most.",
    )

    meter.create_observable_gauge(
        "orm.server.timeline",
        [partial(told, "timeline")],
        "1",
        "The timeline of a server's position (PostgreSQL), or its term (MariaDB, MySQL).",
    )

    def observe(route: Route) -> None:
        attributes = {
            "orm.server": route.server,
            "orm.role": route.role,
            "orm.reason": route.reason.name.lower(),
        }
        transactions.add(1, attributes)
        seconds = {"orm.waited": route.waited, "orm.fenced": route.fenced}
        trace.get_current_span().add_event("orm.route", {**attributes, **seconds})
        if route.waited:
            waits.record(route.waited, attributes)
            now = time_ns()
            started = now - int(route.waited * 1e9)
            tracer.start_span("orm.wait", attributes=attributes, start_time=started).end(now)

    unobserve = database.observe(observe)

    def stop() -> None:
        nonlocal observed
        observed = False  # an instrument is never taken back
        unobserve()

    return stop
