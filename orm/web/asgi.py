"""The part of ASGI that this package needs, without a framework."""

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

__all__ = [
    "App",
    "Message",
    "Receive",
    "Scope",
    "Send",
    "header_values",
    "path_in",
    "send_html",
    "send_json",
    "until_disconnected",
]

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


def path_in(scope: Scope) -> str:
    """The path inside a mounted application, ``"/"`` at least.

    Frameworks differ in whether they leave the mount's own path in ``path`` (ASGI says so).
    """
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    if root and (path == root or path.startswith(f"{root.rstrip('/')}/")):
        path = path[len(root.rstrip("/")) :]
    return f"/{path.strip('/')}"


async def until_disconnected(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def send_html(send: Send, content: str, policy: str) -> None:
    """Answer a request with a page.

    Args:
        send: of the request.
        content: the page.
        policy: its Content-Security-Policy.
    """
    body = content.encode()
    head = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})
