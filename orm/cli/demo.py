"""``orm demo``: the problem that the library solves, and its solution."""

import asyncio
import signal
from contextlib import suppress

import click

__all__ = ["demo"]


@click.command()
@click.option("--once", is_flag=True, help="The story in the terminal, in a few seconds.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", default=8000, show_default=True, help="0 takes a free one.")
@click.option("--open/--no-open", "opens", default=True, help="Whether to open a browser.")
def demo(once: bool, host: str, port: int, opens: bool) -> None:
    """Show a post that goes missing while a replica lags, and the cure.

    A small blog on real files in a temporary folder, with a page to play with. Ctrl-C ends it.
    """
    if once:
        from orm.demo.terminal import tell

        tell()
        return
    try:
        from orm.demo.server import serve
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"the page needs {error.name}: install bookmark-orm[demo], or use --once"
        ) from error
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # which removes the files too
    with suppress(KeyboardInterrupt):  # Ctrl-C ends it
        asyncio.run(serve(host, port, opens))
