"""``p2pshare serve``: a signaling server until Ctrl-C; and the one that ``p2pshare send`` brings along."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import AsyncIterator

from p2pshare.cli.display import Display, write_line
from p2pshare.cli.moments import Listening
from p2pshare.cli.names import web_address
from signaling.errors import CannotListen
from signaling.serve import serve as serve_until_signal
from signaling.server import DEFAULT_PORT, SignalingServer


def serve(host: str | None, port: int) -> None:
    """Serve until SIGINT or SIGTERM. Raises CannotListen."""
    try:
        serve_until_signal(host, port, ready=_announce)
    except CannotListen as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE:
            raise CannotListen(error.host, error.port, f"{error.reason}; try --port") from error
        raise


def _announce(server: SignalingServer) -> None:
    for address in addresses(server):
        write_line(f"listening on {address}")
    write_line("others: p2pshare send PATH --room ROOM --server " + addresses(server)[0])
    write_line("press Ctrl-C to stop")


def addresses(server: SignalingServer) -> tuple[str, ...]:
    """Where a running server is reached, the most useful for others first."""
    return tuple(web_address(url) for url in server.urls)


@contextlib.asynccontextmanager
async def embedded_server(display: Display) -> AsyncIterator[SignalingServer]:
    """A server on every address of this machine, on the usual port if that is free. Raises CannotListen."""
    try:
        server = SignalingServer(port=DEFAULT_PORT)
        await server.start()
    except CannotListen:
        server = SignalingServer(port=0)
        await server.start()
    try:
        display.tell(Listening(addresses(server)))
        yield server
    finally:
        await server.close()
