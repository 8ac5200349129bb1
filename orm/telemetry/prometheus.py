"""Metrics for Prometheus. Needs the extra ``prometheus``."""

from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from orm._given import instance
from orm.database import Database
from orm.exceptions import DatabaseClosed
from orm.routing import Route

__all__ = ["Servers", "export"]

_LABELS: Final = ("server", "role", "host")
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class Servers(Collector):
    """What is known of every server at each scrape; no I/O.

    `export` registers one. With several worker processes the application registers it itself,
    beside prometheus_client's ``MultiProcessCollector``, which collects counters and histograms
    alone.

    Args:
        database: whose servers.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterable[Metric]:
        behind = GaugeMetricFamily(
            "orm_server_behind",
            "Commits, or bytes of the log, that a server lacks.",
            labels=_LABELS,
        )
        seconds = GaugeMetricFamily(
            "orm_server_seconds_behind",
            "Seconds that a replica is behind the primary, at most.",
            labels=_LABELS,
        )
        serves = GaugeMetricFamily(
            "orm_server_serves", "1 if a server answered its last probe.", labels=_LABELS
        )
        timeline = GaugeMetricFamily(
            "orm_server_timeline",
            "The timeline of a server's position (PostgreSQL), or its term (MariaDB, MySQL).",
            labels=_LABELS,
        )
        try:
            servers = self._database.last_status()
        except DatabaseClosed:
            servers = []
        for server in servers:
            labels = [server.name, server.role, server.host or ""]
            serves.add_metric(labels, server.error is None)
            if server.behind is not None:
                behind.add_metric(labels, server.behind)
            if server.seconds is not None:
                seconds.add_metric(labels, server.seconds)
            if server.timeline is not None:
                timeline.add_metric(labels, server.timeline)
        return [behind, seconds, serves, timeline]


def export(database: Database, registry: CollectorRegistry = REGISTRY) -> Callable[[], None]:
    """Export where transactions go, how long reads wait, and how far each server is behind.

    ========================= ========= ========================================================
    orm_transactions_total    counter   by ``server``, ``role`` and ``reason`` (`Reason`'s names)
    orm_wait_seconds          histogram of the reads that waited for a replica
    orm_server_behind         gauge     commits, or bytes; by ``server``, ``role`` and ``host``
    orm_server_seconds_behind gauge     at most; of replicas, by the same
    orm_server_serves         gauge     1 or 0; by the same
    orm_server_timeline       gauge     of its position: two in one cluster tell of a failover
    ========================= ========= ========================================================

    The numbers are those of this process. With several workers a scrape meets one of them: set
    ``PROMETHEUS_MULTIPROC_DIR``, and counters and histograms are summed (prometheus_client,
    "Multiprocess Mode"; the guide to health and metrics has an example).

    Args:
        database: whose servers and routes are told.
        registry: where to; a registry takes one database.

    Returns:
        Ends it, when called.

    Raises:
        ConfigurationError: there is no Database.
    """
    instance("database", database, Database, "a Database")
    transactions = Counter(
        "orm_transactions",
        "Transactions, by the server that they went to.",
        ["server", "role", "reason"],
        registry=registry,
    )
    waits = Histogram(
        "orm_wait_seconds",
        "How long reads waited for a replica to catch up.",
        buckets=_SECONDS,
        registry=registry,
    )
    servers = Servers(database)
    registry.register(servers)

    def observe(route: Route) -> None:
        transactions.labels(route.server, route.role, route.reason.name.lower()).inc()
        if route.waited:
            waits.observe(route.waited)

    unobserve = database.observe(observe)

    def stop() -> None:
        unobserve()
        for collector in (transactions, waits, servers):
            registry.unregister(collector)

    return stop
