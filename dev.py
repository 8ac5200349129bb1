"""The project's commands. They need Python 3.11 or newer, and nothing else.

    python3 dev.py demo [arguments]   what the library is for, in a browser; --once: in the terminal
    python3 dev.py test [arguments]   the tests; arguments go to pytest
    python3 dev.py lint               formatting and lint
    python3 dev.py types              mypy and pyright
    python3 dev.py docs               build the documentation into build/docs; warnings are errors
    python3 dev.py wheel              build the wheel, look into it, try it in a clean environment
    python3 dev.py bench [arguments]  the benchmarks

Each one makes the virtual environment .venv if need be, with uv where it is installed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 -- `python3` may well be an older one
    sys.exit(
        "This project needs Python 3.11 or newer; {} is Python {}.{}. Run this file with a newer "
        "one, for example: python3.12 dev.py".format(sys.executable, *sys.version_info[:2])
    )

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
STATE = ENVIRONMENT / "dev-state"
EXTRAS = {
    "none": "",
    "run": "[demo]",
    "test": "[test]",
    "dev": "[dev]",
}  # each includes the one before


class Failure(Exception):
    """What went wrong and what to do next."""


# The environment ---------------------------------------------------------------------------


def python_of(environment: Path) -> str:
    return str(environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def install(environment: Path, *requirements: str) -> None:
    """Make the virtual environment, unless it is there, and install into it."""
    python, uv = python_of(environment), shutil.which("uv")
    # As `venv` itself does: sys.executable may be the one in .venv, which may be gone by now.
    base: str = getattr(sys, "_base_executable", sys.executable)
    if uv:
        create = [uv, "venv", "--allow-existing", "--python", base, str(environment)]
        add = [uv, "pip", "install", "--python", python, *requirements]
    else:
        create = [base, "-m", "venv", str(environment)]
        add = [python, "-m", "pip", "install", *requirements]
    quietly(
        create,
        "Could not make a virtual environment. On Debian and Ubuntu, install the package "
        "python3-venv; elsewhere, a complete Python from python.org, or uv.",
    )
    quietly(add, "Could not install the packages: is a package index within reach?")


def quietly(command: list[str], advice: str) -> None:
    """Run a command, and show what it printed only if it fails."""
    result = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if result.returncode:
        sys.stdout.flush()
        sys.stdout.buffer.write(result.stdout)
        raise Failure(advice)


def ready(level: str) -> str:
    """Bring .venv up to a level of `EXTRAS`; the path of its Python."""
    # Whatever of this changes makes another environment.
    made_of = (ROOT / "pyproject.toml").read_text("utf-8"), str(ROOT), sys.version, sys.base_prefix
    digest = hashlib.sha256("\n".join(made_of).encode()).hexdigest()
    had = "none"
    if STATE.exists():
        known, _, level_had = STATE.read_text().partition(" ")
        if known == digest:
            had = level_had
        else:
            shutil.rmtree(ENVIRONMENT)
    elif ENVIRONMENT.exists():
        raise Failure(f"{ENVIRONMENT} was not made by dev.py: move it away, or delete it.")
    levels = list(EXTRAS)
    if levels.index(had) < levels.index(level):
        print(f"Installing into {ENVIRONMENT} …", flush=True)
        ENVIRONMENT.mkdir(exist_ok=True)
        STATE.write_text(f"{digest} {had}")
        install(ENVIRONMENT, "--editable", f".{EXTRAS[level]}")
        STATE.write_text(f"{digest} {level}")
    return python_of(ENVIRONMENT)


# Commands ----------------------------------------------------------------------------------


def become(*command: str) -> int:
    """Go on as another program: its exit code, Ctrl-C and signals are nobody else's."""
    sys.stdout.flush()
    os.chdir(ROOT)
    if os.name == "posix":
        os.execv(command[0], command)
    return subprocess.run(command, check=False).returncode


def run_all(*commands: list[str]) -> int:
    """Run commands one after the other, whether they fail or not; the first exit code not 0."""
    codes = [subprocess.run(command, cwd=ROOT, check=False).returncode for command in commands]
    return next(filter(None, codes), 0)


def demo(*arguments: str) -> int:
    return become(ready("run"), "-m", "orm.cli", "demo", *arguments)


def test(*arguments: str) -> int:
    return become(ready("test"), "-m", "pytest", *arguments)


def lint() -> int:
    ruff = [ready("dev"), "-m", "ruff"]
    return run_all([*ruff, "format", "--check", "."], [*ruff, "check", "."])


def types() -> int:
    python = ready("dev")
    return run_all([python, "-m", "mypy"], [python, "-m", "pyright", "--pythonpath", python])


def docs() -> int:
    sphinx = [ready("dev"), "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"]
    code = run_all([*sphinx, "--fresh-env", "docs", "build/docs"])
    if not code:
        print(f"Open {ROOT / 'build' / 'docs' / 'index.html'}")
    return code


def wheel() -> int:
    python = ready("dev")
    with tempfile.TemporaryDirectory(prefix="bookmark-orm-") as name:
        folder = Path(name)
        quietly(
            [python, "-m", "build", "--wheel", "--no-isolation", "--outdir", name],
            "The wheel could not be built.",
        )
        (built,) = folder.glob("*.whl")
        look_into(built)
        print(f"{built.name} holds what it should; trying it in a clean environment …", flush=True)
        environment = folder / "environment"
        install(environment, str(built))
        smoke = ROOT / ".ci" / "smoke.py"
        # -I: neither the checkout nor the variables of this shell lend it anything.
        command = [python_of(environment), "-I", str(smoke)]
        return subprocess.run(command, cwd=folder, check=False).returncode


def look_into(built: Path) -> None:
    """Fail unless a wheel holds the whole of orm and nothing else."""
    names = {name for name in zipfile.ZipFile(built).namelist() if ".dist-info/" not in name}
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "orm").rglob("*")
        if path.suffix in (".py", ".toml", ".html", ".css", ".js", ".txt")
    } | {"orm/py.typed"}
    if names != wanted:
        raise Failure(
            f"{built.name} lacks {sorted(wanted - names)} and has too much in "
            f"{sorted(names - wanted)}."
        )


def bench(*arguments: str) -> int:
    return become(ready("run"), "benchmarks", *arguments)


COMMANDS = {f.__name__: f for f in (demo, test, lint, types, docs, wheel, bench)}
PASS_ON = ("demo", "test", "bench")  # their arguments


def main(arguments: list[str]) -> int:
    name, *rest = arguments or [""]
    if name not in COMMANDS or (rest and name not in PASS_ON):
        print(__doc__)
        return 0 if name in ("-h", "--help") else 2
    try:
        return COMMANDS[name](*rest)
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
