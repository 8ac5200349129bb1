"""The demo in a real browser, started and ended as a person does."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.demo.browser import CHROMIUM, Browser, Page, browser
from tests.demo.process import demo

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.asyncio(loop_scope="module"),
]

PUBLISH = "document.querySelector('#write button').click()"
OUTCOME = "document.querySelector('#outcome')"
TAB, SPACE = ("Tab", 9), (" ", 32)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def started(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Browser, str]]:
    """A browser, and the demo, which ends while pages still look on."""
    async with browser(tmp_path_factory.mktemp("profile")) as chromium:
        async with demo(tmp_path_factory.mktemp("demo")) as url:
            yield chromium, url
            page = await chromium.open(url)
            await page.js("document.querySelector('#busy').click()")
            await page.until("/commit 1\\d/.test(document.querySelector('.server').textContent)")


@pytest_asyncio.fixture(loop_scope="module")
async def page(started: tuple[Browser, str]) -> AsyncIterator[Page]:
    """The demo's page, opened anew, with every replica up to date."""
    chromium, url = started
    page = await chromium.open(url)
    await page.until("document.querySelectorAll('.server').length === 3")
    await page.js(
        """Promise.all(["replica-1", "replica-2"].map((name) => fetch(`/replicas/${name}`, {
            method: "PUT",
            headers: { "content-type": "application/json" },
            body: '{"lag": 0, "state": "running"}',
        })))"""
    )
    await page.until("document.querySelectorAll('.server:not(.behind, .unused)').length === 3")
    yield page
    await page.close()  # a browser keeps few connections to one server
    assert page.complaints == []


async def set_lag(page: Page, number: int, seconds: float) -> None:
    """As a person drags a slider."""
    await page.js(
        f"""(() => {{
            const slider = document.querySelectorAll('.server')[{number}].querySelector('input');
            slider.value = {seconds};
            slider.dispatchEvent(new Event('input', {{ bubbles: true }}));
            slider.dispatchEvent(new Event('change', {{ bubbles: true }}));
        }})()"""
    )
    await page.until(f"document.querySelectorAll('.server')[{number}].dataset.lag == {seconds}")


async def test_the_pitfall_and_the_cure_can_be_seen(page: Page) -> None:
    for number in (1, 2):
        await set_lag(page, number, 5)
    await page.js(PUBLISH)
    await page.until(f"{OUTCOME}.classList.contains('bad')")
    assert await page.js(f"{OUTCOME}.querySelector('strong').textContent") == "Your post is missing"
    assert await page.js("document.querySelectorAll('.ghost').length") == 1
    said = await page.js(f"{OUTCOME}.textContent")
    assert "replica-" in said
    assert "the session has seen nothing yet, so any replica may answer" in said
    assert "so it may see the blog as it was a moment ago" in said

    await page.js("document.querySelector('#linked').click()")
    await page.js(PUBLISH)
    await page.until(f"{OUTCOME}.classList.contains('good')")
    assert "x-bookmark: v1." in await page.js(f"{OUTCOME}.textContent")
    assert await page.js("document.querySelector('.new b').textContent") == "A walk"
    scores = "[...document.querySelectorAll('.score dd')].map(one => one.textContent)"
    assert await page.js(scores) == ["0 of 1", "1 of 1"]
    await page.until("/no replica has caught up/.test(document.querySelector('#feed').textContent)")


async def test_a_replica_is_paused_killed_and_revived_by_its_buttons(page: Page) -> None:
    card = "document.querySelectorAll('.server')[1]"
    button = f"{card}.querySelector('[data-state=%s]')"
    await page.js(f"{button % 'killed'}.click()")
    await page.until(f"{card}.classList.contains('unused')")
    assert await page.js(f"{button % 'killed'}.textContent") == "Revive"
    await page.js(f"{button % 'killed'}.click()")
    await page.until(f"!{card}.classList.contains('unused')")
    await page.js(f"{button % 'paused'}.click()")
    await page.until(f"{card}.dataset.state === 'paused'")
    await page.js(PUBLISH)
    await page.until(f"{card}.classList.contains('behind')")
    assert "1 commit behind" in await page.js(f"{card}.textContent")


async def test_it_can_be_used_by_keyboard_alone(page: Page) -> None:
    await page.key(*TAB)
    assert await page.js("document.activeElement.id") == "linked"
    await page.key(*SPACE)
    assert await page.js("document.querySelector('#linked-head').textContent") == "Bookmarks are on"
    reached = []
    for _ in range(14):
        await page.key(*TAB)
        reached.append(
            await page.js(
                "(e => e.name || e.id || e.getAttribute('aria-label') || e.textContent)"
                "(document.activeElement)"
            )
        )
    assert reached[:4] == ["author", "title", "Publish and read back", "again"]
    assert reached[4:7] == ["Lag of replica-1 in seconds", "Pause", "Kill"]
    assert reached[7:10] == ["Lag of replica-2 in seconds", "Pause", "Kill"]
    assert "busy" in reached


@pytest.mark.parametrize("dark", [False, True])
async def test_it_fits_a_phone_and_can_be_read(page: Page, dark: bool) -> None:
    await page.look(320, 640, dark=dark, mobile=True)
    await page.js(PUBLISH)
    await page.until(f"{OUTCOME}.querySelector('.steps')")
    assert await page.js("document.documentElement.scrollWidth") == 320
    # WCAG 2.2, 1.4.3: text stands out from what is behind it by 4.5 to 1.
    poor = await page.js(
        """(() => {
            const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
            const light = ([r, g, b]) => [r, g, b].reduce((sum, value, n) => {
                value /= 255;
                value = value <= .04045 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4;
                return sum + value * [.2126, .7152, .0722][n];
            }, 0);
            const behind = (element) => {
                for (; element; element = element.parentElement) {
                    const colour = parse(getComputedStyle(element).backgroundColor);
                    if (colour.length === 3 || colour[3] === 1) return colour;
                }
            };
            return [...document.querySelectorAll("main *")]
                .filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
                .filter((e) => e.offsetParent)
                .map((e) => {
                    const both = [light(parse(getComputedStyle(e).color)), light(behind(e))];
                    const [dark, bright] = both.sort((one, other) => one - other);
                    return [(bright + .05) / (dark + .05), e.outerHTML];
                })
                .filter(([contrast]) => contrast < 4.5);
        })()"""
    )
    assert poor == []


async def test_the_status_page_shows_the_same_and_has_no_controls(page: Page) -> None:
    await page.go(await page.js("location.href") + "status/")
    await page.until("document.querySelectorAll('.server').length === 3")
    assert await page.js("document.querySelectorAll('button, input').length") == 0
    await page.js(
        """fetch('/posts', { method: 'POST', headers: { 'content-type': 'application/json' },
                           body: '{"author": 1, "title": "x"}' })"""
    )
    await page.until("document.querySelectorAll('#feed .who').length > 0")
    lines = "document.querySelector('#lines')"
    drawn = f"{lines}.getContext('2d').getImageData(0, 0, {lines}.width, {lines}.height).data"
    await page.until(f"{drawn}.some(value => value)")


async def test_the_names_of_all_lines_are_inside_of_the_picture(page: Page) -> None:
    # Nothing has been written since the page was opened: all lines are at its upper edge.
    await page.js(
        """window.drawn = {}; const context = CanvasRenderingContext2D.prototype;
        const fillText = context.fillText;
        context.fillText = function (text, x, y) {
            window.drawn[text] = [y, this.canvas.clientHeight];
            fillText.call(this, text, x, y);
        }"""
    )
    await page.until("'replica-2' in window.drawn")
    places = [await page.js(f"window.drawn['{name}']") for name in ("replica-2", "replica-1")]
    (low, height), (high, _) = places
    assert high + 14 <= low <= height - 6
