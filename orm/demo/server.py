"""The demo on a port of this machine."""

import socket
import webbrowser
from tempfile import TemporaryDirectory
from typing import Final

import click
import uvicorn
from sqlalchemy import URL

from orm.demo.blog import application

__all__ = ["serve"]

_PATIENCE: Final = 1  # seconds that pages may go on looking when it ends


async def serve(host: str, port: int, opens: bool) -> None:
    """Serve the demo until it is interrupted.

    Args:
        host: where to listen.
        port: 0 takes a free one.
        opens: whether to open a browser, where there is one.

    Raises:
        click.ClickException: the port is taken.
    """
    with TemporaryDirectory(prefix="bookmark-orm-demo-") as folder, socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise click.ClickException(
                f"cannot listen on {host}:{port} ({error.strerror}): give another --port"
            ) from error
        page = f"http://{host}:{listener.getsockname()[1]}/"
        app = application(URL.create("sqlite+aiosqlite", database=f"{folder}/app.db"))
        config = uvicorn.Config(
            app, log_level="warning", timeout_graceful_shutdown=_PATIENCE, lifespan="on"
        )
        click.echo(f"The demo is at {page} (Ctrl-C ends it)")
        if opens:
            listener.listen()  # so that the browser can already connect, and waits
            webbrowser.open(page)
        await uvicorn.Server(config).serve([listener])
