"""One attempt to join a room: from a URL to a socket in the room, or to the error that says why not.

The seam where aiohttp's errors become signaling's.
"""

from __future__ import annotations

import asyncio
import os
import socket as sockets
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp

from signaling.errors import (
    BadMessage,
    NotAllowed,
    RefusedError,
    ServerFull,
    SignalingError,
    Unreachable,
    refusal,
)
from signaling.messages import MAX_FROM_SERVER, Join, Joined, Refused, decode_server, encode

_CLOSE_TIMEOUT_S = 2.0


async def dial(
    http: aiohttp.ClientSession,
    url: str,
    join: Join,
    *,
    timeout_s: float,
    heartbeat_s: float,
    tls: ssl.SSLContext | None,
) -> tuple[aiohttp.ClientWebSocketResponse, Joined]:
    """Connect and join.

    Raises:
        Unreachable: If nothing answers as a signaling server does within `timeout_s`.
        RefusedError: If the server says no; its subclass says why.
        BadMessage: If the server does not follow the protocol.
    """
    with _map_errors(url, timeout_s):
        async with asyncio.timeout(timeout_s):
            socket = await http.ws_connect(
                url,
                heartbeat=heartbeat_s,
                compress=0,
                max_msg_size=MAX_FROM_SERVER,
                timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_TIMEOUT_S),
                ssl=tls if tls is not None else True,
            )
            try:
                await socket.send_str(encode(join))
                return socket, await _receive_joined(socket, url, join)
            except BaseException:
                await socket.close()
                raise


async def _receive_joined(socket: aiohttp.ClientWebSocketResponse, url: str, join: Join) -> Joined:
    while True:
        message = await socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise Unreachable(url, f"the connection was closed, code {socket.close_code}")
        match decode_server(message.data):
            case Joined() as joined:
                return joined
            case Refused(code, reason, _, _):
                raise refusal(code, reason, room=join.room, name=join.name)
            case None:
                continue
            case unexpected:
                raise BadMessage(f"{type(unexpected).__name__} before Joined", field="type")


@contextmanager
def _map_errors(url: str, timeout_s: float) -> Iterator[None]:
    try:
        yield
    except SignalingError:
        raise
    except TimeoutError as exc:
        raise Unreachable(url, f"no answer within {timeout_s:g} s") from exc
    except aiohttp.WSServerHandshakeError as exc:
        raise _from_status(exc.status, url) from exc
    except aiohttp.TooManyRedirects as exc:
        raise Unreachable(url, "it sends us elsewhere without end") from exc
    except aiohttp.ClientConnectorError as exc:
        raise Unreachable(url, _system_reason(exc.os_error)) from exc
    except (aiohttp.ClientError, OSError, ValueError) as exc:
        raise Unreachable(url, str(exc) or type(exc).__name__) from exc


def _from_status(status: int, url: str) -> RefusedError | Unreachable:
    match status:
        case 401 | 403:
            return NotAllowed(f"HTTP status {status}")
        case 429:
            return ServerFull("too many connections, or too fast, from this address")
        case 502 | 503 | 504:
            return ServerFull(f"HTTP status {status}")
        case _:
            return Unreachable(url, f"an HTTP server answers there, with status {status}")


def _system_reason(error: OSError) -> str:
    # Python gives every TLS error the number of another system error, 1.
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or str(error)).replace('_', ' ').lower()}"
    # asyncio puts addresses, and several attempts, into strerror; the system's own words are enough.
    if isinstance(error, sockets.gaierror) or not error.errno or error.errno < 0:
        return error.strerror or str(error)
    return os.strerror(error.errno)
