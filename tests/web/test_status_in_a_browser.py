"""The status page in a real browser, while servers of PostgreSQL fail."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn

from orm import Database
from orm.testing.postgresql import Cluster
from orm.web import status_page
from orm.web.asgi import App
from tests.conftest import PATIENT
from tests.demo.browser import CHROMIUM, browser

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.slow,
    pytest.mark.cluster,
]

CARDS = "[...document.querySelectorAll('.server')].map((card) => card.textContent)"
WATCH_TEXT = """
window.drawn = {};
const context = CanvasRenderingContext2D.prototype;
const fillText = context.fillText;
context.fillText = function (text, x, y) {
    const width = this.measureText(text).width;
    const from = x - { left: 0, center: width / 2, right: width }[this.textAlign];
    window.drawn[text] = [from, this.canvas.clientWidth - from - width];
    fillText.call(this, text, x, y);
}"""


@asynccontextmanager
async def served(app: App) -> AsyncIterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn tells it in no other way
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.should_exit = True
        await running


@pytest.mark.parametrize("width", [320, 1100])
async def test_a_failover_can_be_followed(tmp_path: Path, width: int) -> None:
    with Cluster() as cluster:
        old, new, other = cluster.servers
        urls = [server.url("psycopg") for server in cluster.servers]
        async with (
            Database(urls[0], replicas=urls[1:], **PATIENT) as db,
            served(status_page(db)) as url,
            browser(tmp_path) as chromium,
        ):
            page = await chromium.open(url)
            await page.look(width, 900, dark=True)
            await page.js(WATCH_TEXT)
            await page.until("document.querySelectorAll('.server').length === 3")
            await page.until("/told by process [0-9]+ on ./.test(document.body.textContent)")
            assert f"127.0.0.1:{old.port}, at 0/" in (await page.js(CARDS))[0]

            await asyncio.to_thread(new.pause)
            old.sql("CREATE TABLE more AS SELECT generate_series(1, 5000) AS id")
            await db.status()  # asks at once; of servers that are not used the watcher asks seldom
            await page.until(f"/[0-9]\\u00a0kB behind, [0-9.]+\\u00a0s at most/.test({CARDS}[1])")
            await page.until("Object.keys(window.drawn).some((text) => text.endsWith('kB'))")
            await asyncio.to_thread(new.resume)
            await asyncio.to_thread(cluster.caught_up)
            await db.status()
            await page.until(f"/up to date/.test({CARDS}[1])")

            old.kill()
            await db.status()
            await page.until(f"/serves no session/.test({CARDS}[0])")
            assert f"127.0.0.1:{old.port}: " in (await page.js(CARDS))[0]
            await page.until(f"/as far as the primary was/.test({CARDS}[2])")

            await asyncio.to_thread(cluster.promote, new)
            await asyncio.to_thread(other.follow, new)
            await db.status()
            await page.until(
                f"/^127.0.0.1:{new.port}primarytakes the writes.* on timeline 2,/.test({CARDS}[0])"
            )
            old.start()
            await db.status()
            await page.until(
                f"{CARDS}[2].startsWith('127.0.0.1:{old.port}')"
                f" && /:{new.port} has replaced it/.test({CARDS}[2])"
            )
            assert await page.js("document.documentElement.scrollWidth") == width
            outside = "Object.entries(window.drawn).filter(([, ends]) => Math.min(...ends) < 0)"
            assert await page.js(outside) == []
            await page.close()
            assert page.complaints == []
