"""The replicas that Patroni has: ``Database(…, replicas=members("http://patroni:8008", url))``."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.request import urlopen

from sqlalchemy import URL, make_url

from orm import Replica


def members(patroni: str, url: str | URL) -> Callable[[], Awaitable[list[Replica]]]:
    """Look up the replicas that stream, in Patroni's REST API (``GET /cluster``).

    Args:
        patroni: any member's REST API, or a name that leads to one that is up.
        url: of a replica: driver, account and database. Host and port are Patroni's.
    """
    given = make_url(url)

    def ask() -> list[dict[str, Any]]:
        with urlopen(f"{patroni}/cluster", timeout=3) as answer:
            found: list[dict[str, Any]] = json.load(answer)["members"]
            return found

    async def discover() -> list[Replica]:
        return [
            Replica(
                given.set(host=member["host"], port=member["port"]),
                name=member["name"],
                zone=member.get("tags", {}).get("zone"),
            )
            for member in await asyncio.to_thread(ask)
            if member["role"] != "leader" and member["state"] in ("running", "streaming")
        ]

    return discover
