"""Command groups that import a command only when it runs, so that `orm --help` is fast."""

from importlib import import_module
from typing import Any

import click

__all__ = ["LazyGroup"]


class LazyGroup(click.Group):
    """A group of commands that are imported when they run.

    Args:
        args, options: all that `click.Group` takes.
        commands_in: the place of each command as ``"module:name"``, by the command's name.
    """

    def __init__(self, *args: Any, commands_in: dict[str, str], **options: Any) -> None:
        super().__init__(*args, **options)
        self._commands_in = commands_in

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._commands_in)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._commands_in:
            return None
        module, _, name = self._commands_in[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command
