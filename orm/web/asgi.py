"""The little of ASGI that is needed here, without a framework."""

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

__all__ = ["App", "Message", "Receive", "Scope", "Send", "header_values", "send_json"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_Header = tuple[bytes, bytes]


def header_values(scope: Scope, name: bytes) -> list[str]:
    """All values that a request gives a header.

    Args:
        scope: the request's.
        name: in lower case.
    """
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


async def send_json(
    send: Send, status: int, content: object, headers: Iterable[_Header] = ()
) -> None:
    """Answer a request with JSON, which no cache keeps."""
    body = json.dumps(content, indent=2).encode()
    head = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})
