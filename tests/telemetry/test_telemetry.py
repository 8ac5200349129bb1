"""What is told of routes, read back from where it went."""

import asyncio
import logging
import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import select

from models import User
from orm import Database, Reason, Route
from orm.telemetry import log_routes
from orm.telemetry.opentelemetry import instrument
from orm.telemetry.prometheus import export
from orm.testing import caught_up, paused, replicas

EMAILS = select(User.email)


async def write_and_read(db: Database) -> None:
    """One write, and a read that waits for the one replica that gets it."""
    one, two = replicas(db)
    await one.pause()
    await two.pause()
    async with db.session() as session:
        session.add(User(email="ada"))
        await session.commit()
        reading = asyncio.create_task(session.scalars(EMAILS))
        async with asyncio.timeout(60):
            while not db.cluster.watcher.waiting:  # noqa: ASYNC110 - it tells of no beginning
                await asyncio.sleep(0.01)
        await one.resume()
        assert (await reading).all() == ["ada"]
        assert session.last_route is not None
        assert session.last_route.reason is Reason.WAITED
        assert session.last_route.server == "replica-1"


@pytest.fixture
async def patient(servers):
    """A database that waits for its replicas."""
    async with servers.migrated(max_wait=60) as db:
        yield db


async def test_an_observer_is_told_once_a_transaction_where_it_goes(db: Database) -> None:
    routes: list[Route] = []
    stop = db.observe(routes.append)
    async with db.session() as session:
        await session.scalars(EMAILS)
        await session.scalars(EMAILS)
        session.add(User(email="a"))
        await session.flush()  # moves to the primary
        session.add(User(email="b"))
        await session.commit()
    reasons = [route.reason for route in routes]
    assert reasons == [Reason.UNLINKED, Reason.MAY_WRITE]
    assert session.last_route == routes[-1]
    stop()
    async with db.session() as session:
        await session.scalars(EMAILS)
    assert len(routes) == 2


async def test_a_fallback_is_told(servers) -> None:
    routes: list[Route] = []
    async with servers.migrated(max_wait=0) as db, paused(db):
        db.observe(routes.append)
        async with db.session() as session:
            session.add(User(email="a"))
            await session.commit()
            await session.scalars(EMAILS)
    assert [route.reason for route in routes] == [Reason.MAY_WRITE, Reason.FALLBACK]


async def test_routes_are_logged_with_fields(
    patient: Database, caplog: pytest.LogCaptureFixture
) -> None:
    stop = log_routes(patient, logging.INFO)
    with caplog.at_level(logging.INFO, "orm.routes"):
        await write_and_read(patient)
    stop()
    told = [vars(record) for record in caplog.records if record.name == "orm.routes"]
    assert [(one["server"], one["role"], one["reason"]) for one in told] == [
        ("primary", "primary", "may_write"),
        ("replica-1", "replica", "waited"),
    ]
    assert told[0]["waited"] == 0 < told[1]["waited"] < 60


async def test_what_goes_wrong_with_a_server_is_logged_with_fields(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    server = db.cluster.replicas[0]
    with caplog.at_level(logging.INFO, "orm.server"):
        server.fail(OSError("of the disk"))
        await server.probe()
    failed, serves = (vars(record) for record in caplog.records if record.name == "orm.server")
    assert (failed["server"], failed["error"]) == ("replica-1", "of the disk")
    assert serves["server"] == "replica-1"


async def test_prometheus_has_it(patient: Database) -> None:
    registry = CollectorRegistry()
    stop = export(patient, registry)
    await write_and_read(patient)
    await patient.status()

    written = {"server": "primary", "role": "primary", "reason": "may_write"}
    read = {"server": "replica-1", "role": "replica", "reason": "waited"}
    value = registry.get_sample_value
    assert value("orm_transactions_total", written) == value("orm_transactions_total", read) == 1
    assert value("orm_wait_seconds_count") == 1
    assert 0 < (value("orm_wait_seconds_sum") or 0) < 60
    behind = {
        name: value(
            "orm_server_behind", {"server": name, "role": name.partition("-")[0], "host": ""}
        )
        for name in ("primary", "replica-1", "replica-2")
    }
    assert behind == {"primary": 0, "replica-1": 0, "replica-2": 1}
    assert value("orm_server_serves", {"server": "replica-2", "role": "replica", "host": ""}) == 1
    seconds = [
        value("orm_server_seconds_behind", {"server": name, "role": "replica", "host": ""})
        for name in ("replica-1", "replica-2")
    ]
    assert seconds[0] == 0 < (seconds[1] or 0)

    stop()
    assert generate_latest(registry) == b""
    export(patient, registry)()  # there is room for it again


async def test_prometheus_before_and_after(servers) -> None:
    db = servers.database()
    registry = CollectorRegistry()
    export(db, registry)
    assert registry.get_sample_value("orm_server_serves") is None
    async with db:
        pass
    assert b"replica-1" not in generate_latest(registry)


async def test_opentelemetry_has_it(patient: Database) -> None:
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    meters = MeterProvider([reader])
    stop = instrument(patient, tracer_provider=tracers, meter_provider=meters)
    with tracers.get_tracer("application").start_as_current_span("request"):
        await write_and_read(patient)
    await patient.status()

    wait, request = spans.get_finished_spans()
    assert [event.name for event in request.events] == ["orm.route"] * 2
    told = [(event.attributes or {})["orm.reason"] for event in request.events]
    assert told == ["may_write", "waited"]
    assert wait.name == "orm.wait"
    assert wait.parent is not None
    assert wait.parent.span_id == request.context.span_id
    assert (request.start_time or 0) < (wait.start_time or 0) < (wait.end_time or 0)

    def points() -> dict[str, dict[object, float]]:
        data = reader.get_metrics_data()
        return {
            metric.name: {
                (point.attributes or {})["orm.server"]: getattr(point, "value", None)
                or getattr(point, "sum", 0)
                for point in metric.data.data_points
            }
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    found = points()
    assert found["orm.transactions"] == {"primary": 1, "replica-1": 1}
    assert 0 < found["orm.wait.duration"]["replica-1"] < 60
    assert found["orm.server.behind"] == {"primary": 0, "replica-1": 0, "replica-2": 1}
    assert found["orm.server.lag"]["replica-1"] == 0 < found["orm.server.lag"]["replica-2"]

    stop()
    await caught_up_again(patient)
    async with patient.session() as session:
        await session.scalars(EMAILS)
    assert points()["orm.transactions"] == {"primary": 1, "replica-1": 1}
    meters.shutdown()


async def caught_up_again(db: Database) -> None:
    for replica in replicas(db):
        await replica.resume()
    await caught_up(db)


async def test_logging_that_is_not_set_up_is_told_once(tmp_path: Path) -> None:
    """As in an application under uvicorn, which sets up its own loggers alone."""
    program = f"""
import asyncio, logging
from sqlalchemy import text
from orm import Database
from orm.telemetry import log_routes

async def main():
    async with Database("sqlite+aiosqlite:///{tmp_path}/app.db") as db:
        log_routes(db, level=logging.INFO)
        for _ in range(2):
            async with db.session() as session:
                await session.execute(text("SELECT 1"))
        logging.basicConfig(level=logging.INFO)
        async with db.session() as session:
            await session.execute(text("SELECT 1"))

asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stderr=asyncio.subprocess.PIPE
    )
    _, printed = await process.communicate()
    assert process.returncode == 0
    told, route = printed.decode().splitlines()
    assert told.endswith("call logging.basicConfig(level=logging.INFO)")
    assert route == "INFO:orm.routes:primary: the transaction may write"
