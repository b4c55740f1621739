"""Run a signaling server until a signal ends it, for ``python -m signaling`` and ``p2pshare serve``."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Collection, Iterator

from signaling.address import DEFAULT_PORT
from signaling.limits import Limits
from signaling.server import SignalingServer

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def serve(
    host: str | None = None,
    port: int = DEFAULT_PORT,
    *,
    limits: Limits | None = None,
    origins: Collection[str] = (),
    ready: Callable[[SignalingServer], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, then close gracefully and return. Call it from the main thread.

    Args:
        host: The name or address to listen on; None for all of this machine's, IPv4 and IPv6.
        port: 0 to 65535; 0 chooses a free one.
        limits: What clients may take.
        origins: Pages of other servers that may connect.
        ready: Called once, with the running server, when clients can connect.

    Raises:
        CannotListen: If the port is in use or the address is not this machine's.
    """
    server = SignalingServer(host, port, limits=limits, origins=origins)
    with contextlib.suppress(KeyboardInterrupt):  # Where the loop knows no signals: Windows.
        asyncio.run(_serve(server, ready))


async def _serve(server: SignalingServer, ready: Callable[[SignalingServer], None] | None) -> None:
    stop = asyncio.Event()
    with _signals(stop):
        async with server:
            if ready is not None:
                ready(server)
            await stop.wait()


@contextlib.contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    handled: list[signal.Signals] = []
    try:
        for number in _SIGNALS:
            with contextlib.suppress(NotImplementedError):
                loop.add_signal_handler(number, stop.set)
                handled.append(number)
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
