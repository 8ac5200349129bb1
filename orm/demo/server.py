"""The demo on a port of this machine."""

import socket
import webbrowser
from tempfile import TemporaryDirectory

import click
import uvicorn
from fastapi import FastAPI
from sqlalchemy import URL

from orm.database import Database
from orm.demo.blog import application, database

__all__ = ["serve"]


class _Server(uvicorn.Server):
    """Ends the event streams of pages before it waits for the pages to go."""

    def __init__(self, app: FastAPI, database: Database) -> None:
        super().__init__(uvicorn.Config(app, log_level="warning", lifespan="on"))
        self._app = app
        self._database = database

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._app.state.controls.stop()
        await self._database.close()
        await super().shutdown(sockets)


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
        db = database(URL.create("sqlite+aiosqlite", database=f"{folder}/app.db"))
        listener.listen()  # a client that reads the next line can connect already, and waits
        click.echo(f"The demo is at {page} (Ctrl-C ends it)")
        if opens:
            webbrowser.open(page)
        await _Server(application(db), db).serve([listener])
