"""The addresses of signaling servers, as people type them and as a WebSocket needs them. Pure."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from signaling.errors import InvalidArgument
from signaling.names import show

DEFAULT_PORT = 8765
"Where a server listens, and where a bare host name is looked for."

PATH = "/ws"
"The WebSocket's path, where a URL names none."

_SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}


def websocket_url(address: str) -> str:
    """Complete an address to a WebSocket's URL.

    Takes ``ws``, ``wss``, ``http`` and ``https`` URLs, ``host:port``, a host, and ``[IPv6]:port``. A
    fragment is dropped: it may hold a secret that is no business of the server.

    Raises:
        InvalidArgument: If `address` is none of these.
    """
    bare = "://" not in address
    try:
        parts = urlsplit(f"ws://{address}" if bare else address)
        problem = _problem(parts)
        port = parts.port
    except ValueError as exc:
        problem, parts, port = str(exc), SplitResult("", "", "", "", ""), None
    if problem is not None:
        raise InvalidArgument(f"{show(address)} is not the address of a signaling server: {problem}")
    host = format_host(parts.hostname or "")
    if port is None and bare:
        port = DEFAULT_PORT
    path = PATH if parts.path in ("", "/") else parts.path
    query = f"?{parts.query}" if parts.query else ""
    return f"{_SCHEMES[parts.scheme]}://{host}{f':{port}' if port is not None else ''}{path}{query}"


def format_host(host: str) -> str:
    """Write a host as URLs do: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def _problem(parts: SplitResult) -> str | None:
    if parts.scheme not in _SCHEMES:
        return f"{show(parts.scheme)} is not ws, wss, http or https"
    if not parts.hostname:
        return "it names no host"
    if not parts.hostname.isprintable() or " " in parts.hostname:
        return "its host cannot be a host's name"
    if parts.username is not None:
        return "it names a user"
    return None
