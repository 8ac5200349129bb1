"""Every command of ``orm`` that a message suggests can be pasted, and is understood."""

import ast
import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import orm
from orm.cli import main
from orm.migrations.files.line import command_line

SOURCES = Path(orm.__file__).parent
COMMAND = re.compile(r"(?<![\w.-])orm (?=[a-z])")
PUNCTUATION = ".,;:)`"
PLACEHOLDER = "0001"
"""What stands for a value that only a run knows."""


def text_of(node: ast.AST) -> str | None:
    """The text of an expression; None if it is no text."""
    match node:
        case ast.Constant(str(value)):
            return value
        case ast.JoinedStr(values):
            return "".join(text_of(value) or PLACEHOLDER for value in values)
        case ast.BinOp(left, ast.Add(), right):
            parts = (text_of(left), text_of(right))
            return None if parts == (None, None) else "".join(p or PLACEHOLDER for p in parts)
        case _:
            return None


def texts_in(node: ast.AST) -> Iterator[str]:
    """The texts of messages in a piece of source, without docstrings; each one whole."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # a docstring
    if isinstance(node, ast.keyword) and node.arg == "name":
        return  # of a task
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "command_line":
        said = text_of(node.args[0])
        assert said is not None, ast.unparse(node)
        target = text_of(node.args[1]) if len(node.args) > 1 else None
        yield command_line(said, target)
        return
    text = text_of(node)
    if text is not None:
        yield text
    for child in ast.iter_child_nodes(node):
        if text is None or not isinstance(child, ast.Constant | ast.JoinedStr | ast.BinOp):
            yield from texts_in(child)
        else:  # its text is said already; what is called within it is not
            calls = (one for one in ast.walk(child) if isinstance(one, ast.Call))
            for call in calls:
                yield from texts_in(call)


def suggested() -> Iterator[tuple[str, str]]:
    """Each file with what follows ``orm`` in one of its texts."""
    for file in sorted(SOURCES.rglob("*.py")):
        if file == SOURCES / "migrations" / "files" / "line.py":
            continue  # the home of `command_line`
        for text in texts_in(ast.parse(file.read_text("utf-8"))):
            for found in COMMAND.finditer(text):
                rest = COMMAND.split(text[found.end() :])[0]
                yield str(file.relative_to(SOURCES)), rest


def words_of(text: str) -> Iterator[tuple[str, bool, bool]]:
    """The words of a shell; whether the command ends after each; whether it was in quotes."""
    for word in re.findall(r"""(?:"[^"]*"|'[^']*'|[^\s"'])+""", text):
        bare = word.rstrip(PUNCTUATION)
        [one] = shlex.split(bare) or [""]
        yield one, bare != word, bare != one


def read(text: str) -> list[str]:
    """Parse the command with which a text begins, as click does.

    Returns:
        Its words.

    Raises:
        click.UsageError: there is no such command or option, or something is missing.
    """
    command: click.Command = main
    context = click.Context(main, info_name="orm")
    words, arguments = [*words_of(text)], list[str]()
    at = 0
    while isinstance(command, click.Group) and at < len(words):
        name = words[at][0]
        found = command.get_command(context, name)
        if found is None:
            raise click.UsageError(f"no command {name!r}")
        command, context = found, click.Context(found, info_name=name, parent=context)
        at += 1
        if words[at - 1][1]:
            break
    if isinstance(command, click.Group):
        return []  # all of its commands are meant
    room = sum(isinstance(one, click.Argument) for one in command.params)
    options = {name: one for one in command.params for name in one.opts if one.name}
    while at < len(words) and not words[at - 1][1]:
        word, _, quoted = words[at]
        one = options.get(word)
        if word.startswith("-"):
            arguments.append(word)
            if isinstance(one, click.Option) and not one.is_flag and not words[at][1]:
                at += 1
                arguments.append(words[at][0])
        elif room and (quoted or word == PLACEHOLDER or word.isupper()):
            arguments.append(word)
            room -= 1
        else:
            assert not word.startswith("(or"), text
            break
        at += 1
    assert command.name is not None
    command.make_context(command.name, list(arguments), parent=context.parent)
    needs_target = "target" in inspect.signature(command.callback or read).parameters
    if (needs_target or command.name == "reset") and {"--local", "--remote"}.isdisjoint(arguments):
        raise click.UsageError("give exactly one of --local and --remote")
    assert "…" not in " ".join(arguments), text
    return [command.name, *arguments]


@pytest.mark.parametrize(("file", "text"), sorted(set(suggested())))
def test_it_is_understood(file: str, text: str) -> None:
    read(text)


@pytest.mark.parametrize(
    "text",
    [
        "migration apply --local",
        "migrations apply",
        "migrations apply --now --local",
        "migrations repair --local",
        "migrations create",
        'migrations create "…"',
        "migrations renumber --local (or --remote)",
    ],
)
def test_the_judge_sees_what_is_wrong(text: str) -> None:
    with pytest.raises((click.UsageError, AssertionError)):
        read(text)


def test_the_judge_reads_what_is_right() -> None:
    assert read('migrations create "a name", then') == ["create", "a name"]
    assert read("migrations apply --local.") == ["apply", "--local"]
    assert len(set(suggested())) > 30
