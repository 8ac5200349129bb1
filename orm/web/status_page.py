"""A page that shows the servers of a database, live; nothing can be changed from it."""

import base64
import hashlib
from collections.abc import Awaitable, Callable
from functools import cache
from importlib.resources import files
from typing import Final

from orm._given import instance
from orm.database import Database
from orm.exceptions import ConfigurationError
from orm.web.asgi import App, Receive, Scope, Send, path_in, send_html, send_json
from orm.web.live import send_live

__all__ = ["Guard", "page", "status_page"]

Guard = Callable[[Scope], Awaitable[bool]]
"""Whether a request may look, judged from its ASGI scope: headers, session, user."""

_PACKAGE: Final = "orm.web.page"


def status_page(database: Database, *, guard: Guard | None = None) -> App:
    """An application to mount, as in ``app.mount("/status", status_page(db, guard=is_admin))``.

    It shows every server's position and lag, and where transactions go, as they go. Nothing can be
    changed from it. It works offline, and without a visitor it costs nothing.

    Args:
        database: whose servers and routes it shows.
        guard: asked at each request; a visitor whom it turns away gets 403. Without one, every
            visitor that reaches the path may look.

    Raises:
        ConfigurationError: there is no Database, or the guard is no function.
    """
    instance("database", database, Database, "a Database")
    if guard is not None and not callable(guard):
        raise ConfigurationError(f"guard is an async function, and not {guard!r}")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path = path_in(scope)
        if guard is not None and not await guard(scope):
            await send_json(send, 403, {"detail": "this page is not for you"})
        elif scope["method"] not in ("GET", "HEAD"):
            await send_json(send, 405, {"detail": "this page is to look at"}, [(b"allow", b"GET")])
        elif path == "/":
            await send_html(send, *page("status.html", "status.js"))
        elif path == "/events":
            await send_live(database, receive, send)
        else:
            await send_json(send, 404, {"detail": "there is only the page itself"})

    return app


@cache
def page(html: str, script: str, *, package: str = _PACKAGE) -> tuple[str, str]:
    """A page in one piece, with styles and scripts inside, and the policy that allows just those.

    Args:
        html: a file with places for ``{style}`` and ``{script}``.
        script: a file that goes on after ``live.js``.
        package: where the two are; ``page.css`` and ``live.js`` are always from here.

    Returns:
        The page, and its Content-Security-Policy.
    """
    own = files(package)
    ours = files(_PACKAGE)
    style = (ours / "page.css").read_text("utf-8")
    code = (ours / "live.js").read_text("utf-8") + (own / script).read_text("utf-8")
    text = (own / html).read_text("utf-8").replace("{style}", style).replace("{script}", code)
    policy = (
        f"default-src 'none'; connect-src 'self'; img-src data:; style-src {_hash(style)}; "
        f"script-src {_hash(code)}; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
    )
    return text, policy


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
