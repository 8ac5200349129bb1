"""What the documentation shows is what runs.

A page is worked through from top to bottom, in an empty folder, as a reader would: a block with a
caption is a file of that name, and a console block is typed line by line; what it is shown to
print is what must be printed. No other block may hold code. A page that begins in another's folder
says so at its top, as in ``files_of: tutorial.md``, and has that page's files, those of `orm init`
too. A file of this repository is included where it stands.
"""

import os
import re
import shlex
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

import orm.exceptions
from orm.backends import (
    Backend,
    EmbeddedReplica,
    EmbeddedReplicas,
    Fences,
    Migrations,
    Network,
    Roles,
)
from tests.harness.ports import reserved_port

DOCS = Path(__file__).parents[2] / "docs"
PAGES: Final = sorted(
    page for page in DOCS.rglob("*.md") if "reference" not in page.relative_to(DOCS).parts
)
FENCE: Final = re.compile(
    r"^(?P<fence>```+)(?P<kind>[^\n`]*)\n(?P<body>.*?)^(?P=fence)$", re.DOTALL | re.MULTILINE
)
PROSE: Final = ("{toctree}", "{glossary}")
SECONDS: Final = 120


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    kind: str
    options: dict[str, str]
    body: str


def blocks(page: str, folder: Path = DOCS) -> Iterator[Block]:
    for match in FENCE.finditer(page):
        head = re.match(r"(?::[a-z-]+:[^\n]*\n)*", match["body"])
        assert head is not None
        options = dict(re.findall(r"^:([a-z-]+): *(.*)$", head[0], re.MULTILINE))
        kind, _, argument = match["kind"].strip().partition(" ")
        body = match["body"][head.end() :].lstrip("\n")
        if kind == "{literalinclude}":
            body = (folder / argument).read_text("utf-8")
        yield Block(kind, options, body)


def story(page: Path) -> Iterator[Block]:
    """The blocks of a page, after the files that it begins with."""
    text = page.read_text("utf-8")
    begins = re.match(r"---\nfiles_of: (.*)\n---\n", text)
    if begins:
        other = page.parent / begins[1]
        yield from (
            block
            for block in blocks(other.read_text("utf-8"), other.parent)
            if "caption" in block.options or block.body.startswith("$ orm init")
        )
    yield from blocks(text, page.parent)


def entered(console: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block, and what it is shown to print."""
    _, *parts = re.split(r"^\$ ", console, flags=re.MULTILINE)
    assert parts, "a console block begins with a command"
    for part in parts:
        command, _, output = part.partition("\n")
        yield command, output.strip()


def looks_like(shown: str, printed: str) -> bool:
    """Whether the output is what the page shows, where … stands for anything in a line.

    A line of … alone stands for any number of lines.
    """
    lines = [
        r"(?:.*\n)*" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + r"\n"
        for line in shown.splitlines()
    ]
    return re.fullmatch("".join(lines), f"{printed}\n") is not None


class Reader:
    """A reader, who does what a page says."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._port = str(stack.enter_context(reserved_port()))
        programs = str(Path(sys.executable).parent)
        path = os.pathsep.join([programs, os.environ.get("PATH", "")])
        # A plugin that no reader is asked to install, and that breaks this version of pytest.
        options = {"PYTEST_ADDOPTS": "-p no:pytest_alembic"}
        self._environment = os.environ | {"PATH": path, "NO_COLOR": "1"} | options

    def do(self, block: Block) -> None:
        body = block.body.replace("8000", self._port)
        if "caption" in block.options:
            file = self._folder / block.options["caption"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(body, "utf-8")
        elif block.kind == "console":
            for command, shown in entered(body):
                self._enter(command, shown)
        else:
            assert block.kind in PROSE, f"neither a file nor a console: {block}"

    def _enter(self, command: str, shown: str) -> None:
        if command.startswith("export "):
            name, _, value = shlex.split(command)[1].partition("=")
            self._environment[name] = value.replace("$PWD", str(self._folder))
        elif command == "pip install --editable .":
            self._install()
        elif command.endswith(" &"):
            self._serve(command.removesuffix(" &"))
        else:
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                timeout=SECONDS,
                check=False,
            )
            printed = re.sub(r"[ \t]+$", "", done.stdout, flags=re.MULTILINE).strip()
            assert done.returncode == 0, f"{command}\n{printed}"
            if shown:
                assert looks_like(shown, printed), f"{command}\n{printed}"

    def _install(self) -> None:
        """What pip would do, for the commands of this page alone: the entry points are found."""
        project = tomllib.loads((self._folder / "pyproject.toml").read_text("utf-8"))["project"]
        name, version = project["name"], project["version"]
        info = self._folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        said = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        (info / "METADATA").write_text(said, "utf-8")
        with (info / "entry_points.txt").open("w", encoding="utf-8") as file:
            for group, entries in project["entry-points"].items():
                file.write(f"[{group}]\n")
                file.writelines(f"{name} = {value}\n" for name, value in entries.items())
        self._environment["PYTHONPATH"] = str(self._folder)

    def _serve(self, command: str) -> None:
        """Start a server, and return when it listens; it ends with the page."""
        server = subprocess.Popen(
            shlex.split(command), cwd=self._folder, env=self._environment, stderr=subprocess.PIPE
        )

        def end() -> None:
            server.terminate()
            server.communicate(timeout=SECONDS)

        self._stack.callback(end)
        until = time.monotonic() + SECONDS
        while True:
            assert server.poll() is None and time.monotonic() < until, command
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", int(self._port))) == 0:
                    return
            time.sleep(0.02)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_a_page_is_what_happens(page: Path, tmp_path: Path) -> None:
    with ExitStack() as stack:
        reader = Reader(tmp_path, stack)
        for block in story(page):
            reader.do(block)


@pytest.mark.parametrize(
    "page",
    [
        "```python\nprint(1)\n```\n",
        "```console\n$ echo one\ntwo\n```\n",
        "```console\n$ false\n```\n",
        "```{code-block} python\n:caption: a.py\nraise SystemExit(1)\n```\n"
        "```console\n$ python a.py\n```\n",
    ],
)
def test_a_page_that_is_wrong_fails(page: str, tmp_path: Path) -> None:
    with ExitStack() as stack, pytest.raises(AssertionError):
        reader = Reader(tmp_path, stack)
        for block in blocks(page):
            reader.do(block)


def test_every_fence_of_a_page_is_seen() -> None:
    for page in PAGES:
        text = page.read_text("utf-8")
        assert 2 * len(list(FENCE.finditer(text))) == len(re.findall(r"^ *```", text, re.MULTILINE))


def named_in_the_guide(heading: str) -> list[str]:
    """The members in the tables of a section of the guide to backends."""
    guide = (DOCS / "guides" / "backend.md").read_text("utf-8")
    section = re.search(rf"^##+ `{heading}`.*?(?=^##|\Z)", guide, re.DOTALL | re.MULTILINE)
    assert section is not None
    return re.findall(r"^\| `(\w+)`", section[0], re.MULTILINE)


@pytest.mark.parametrize(
    "part", [Backend, Network, Roles, Fences, EmbeddedReplicas, EmbeddedReplica, Migrations]
)
def test_the_guide_to_backends_names_all_that_is_asked_of_one(part: type) -> None:
    asked = {name for name in (*vars(part), *part.__annotations__) if name[0] != "_"}
    assert sorted(named_in_the_guide(part.__name__)) == sorted(asked)


def test_the_guide_to_backends_begins_with_what_is_required() -> None:
    required = Backend.__abstractmethods__
    assert set(named_in_the_guide("Backend")[: len(required)]) == required


def test_the_page_on_trouble_names_every_error() -> None:
    page = (DOCS / "guides" / "troubleshooting.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == [
        error for error in re.findall(r"\b[A-Z]\w+", tree()) if error in orm.exceptions.__all__
    ]


def tree() -> str:
    """The errors in the order of their tree."""
    return (orm.exceptions.__doc__ or "").partition("`OrmError.retryable`")[0]
