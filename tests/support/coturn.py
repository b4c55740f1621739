"""A real TURN server, Debian's coturn, on an address of this machine."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import shutil
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory

from aioice.ice import get_host_addresses
from aiortc import RTCIceServer

from tests.support.needs import SYSTEM_PATH

SECRET = "not a secret"
_PATIENCE_S = 30.0
_ASK_AGAIN_S = 0.02


@dataclass(frozen=True, slots=True)
class TurnServer:
    """Where it listens. Credentials are those of a service: a user name that says until when it is good."""

    host: str
    port: int

    @property
    def url(self) -> str:
        return f"turn:{self.host}:{self.port}?transport=udp"

    def ice_server(self, *, valid_for_s: int = 600) -> RTCIceServer:
        """The server with credentials for so long; less than nothing: they have expired."""
        username = f"{int(time.time()) + valid_for_s}:somebody"
        digest = hmac.digest(SECRET.encode(), username.encode(), "sha1")
        return RTCIceServer(self.url, username=username, credential=base64.b64encode(digest).decode())


@asynccontextmanager
async def coturn() -> AsyncIterator[TurnServer]:
    """A server of its own for one test, ended with it."""
    path = shutil.which("turnserver", path=SYSTEM_PATH)
    assert path is not None
    host = next(iter(get_host_addresses(use_ipv4=True, use_ipv6=False)), "127.0.0.1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind((host, 0))
        port = free.getsockname()[1]
    with TemporaryDirectory() as folder:
        options = {
            "listening-ip": host,
            "relay-ip": host,
            "listening-port": port,
            "realm": "tests",
            "static-auth-secret": SECRET,
            "userdb": f"{folder}/users",
            "pidfile": f"{folder}/pid",
            "log-file": f"{folder}/log",
        }
        flags = ("n", "use-auth-secret", "allow-loopback-peers", "no-cli", "no-tls", "no-dtls", "no-rfc5780")
        process = await asyncio.create_subprocess_exec(
            path,
            *(f"-{flag}" if len(flag) == 1 else f"--{flag}" for flag in flags),
            *(f"--{name}={value}" for name, value in options.items()),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=folder,
        )
        try:
            await _answers((host, port))
            yield TurnServer(host, port)
        finally:
            process.kill()
            await process.wait()


class _Binding(asyncio.DatagramProtocol):
    """Asks a STUN server until it answers; as long as nobody listens the system says so at once."""

    def __init__(self) -> None:
        self.answered = asyncio.Event()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.answered.set()


async def _answers(address: tuple[str, int]) -> None:
    loop = asyncio.get_running_loop()
    transport, binding = await loop.create_datagram_endpoint(_Binding, remote_addr=address)
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while not binding.answered.is_set():
                transport.sendto(bytes.fromhex("000100002112a442") + bytes(12))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(binding.answered.wait(), _ASK_AGAIN_S)
    finally:
        transport.close()
