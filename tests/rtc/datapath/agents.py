"""ICE agents on loopback whose socket is ours, and sockets that fail on demand."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from aioice import Candidate, Connection
from aioice.ice import StunProtocol

from p2pshare.rtc.datapath import seams
from p2pshare.rtc.datapath.guard import Guard
from p2pshare.rtc.datapath.offload import Offload
from p2pshare.rtc.datapath.udp import OffloadTransport

LOCALHOST = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


class FailingSocket(socket.socket):
    """Raises the next of ``failures`` instead of sending; None lets one send pass."""

    def __init__(self, family: socket.AddressFamily = socket.AF_INET) -> None:
        super().__init__(family, socket.SOCK_DGRAM)
        self.failures: Iterator[OSError | None] = iter(())
        self.train_failures: Iterator[OSError | None] = iter(())

    def sendto(self, *args: Any) -> int:
        failure = next(self.failures, None)
        if failure is not None:
            raise failure
        return super().sendto(*args)

    def sendmsg(self, *args: Any) -> int:
        failure = next(self.train_failures, None)
        if failure is not None:
            raise failure
        return super().sendmsg(*args)


class Agent:
    """An ICE agent with one socket, that trusts the addresses it is told of."""

    def __init__(self, sock: socket.socket, offers: Offload | None = None) -> None:
        sock.bind((LOCALHOST[sock.family], 0))
        self.connection = Connection(ice_controlling=True)
        self.guard = Guard(self.connection)
        self.protocol = StunProtocol(self.connection)
        self.socket = sock
        self.transport = OffloadTransport(asyncio.get_running_loop(), sock, self.protocol, self.guard, offers)
        self.protocol.connection_made(self.transport)
        self.protocol.local_candidate = _candidate(self.address)
        self.trains: list[list[bytes]] = []
        self.has_train = asyncio.Event()

    @property
    def address(self) -> Any:
        return self.socket.getsockname()

    async def trusts(self, other: Agent) -> None:
        await self.connection.add_remote_candidate(_candidate(other.address))

    def take_trains(self) -> None:
        """Collect DTLS records here, as the data path does."""
        self.transport.on_records = self._records_received

    def _records_received(self, _records: Any, view: memoryview, size: int, segment: int) -> None:
        self.trains.append([bytes(view[at : min(at + segment, size)]) for at in range(0, size, segment)])
        self.has_train.set()

    async def records(self, count: int) -> list[bytes]:
        """The first ``count`` records that arrive."""
        while sum(map(len, self.trains)) < count:
            self.has_train.clear()
            await asyncio.wait_for(self.has_train.wait(), 10)
        return [record for train in self.trains for record in train]

    async def queued(self) -> bytes:
        """The next datagram that waits for aiortc."""
        entry = await asyncio.wait_for(seams.received(self.connection).get(), 10)
        assert entry is not None
        return entry[0]


def _candidate(address: tuple[Any, ...]) -> Candidate:
    return Candidate("1", 1, "udp", 1, address[0], address[1], "host")


@asynccontextmanager
async def agents(
    *,
    family: socket.AddressFamily = socket.AF_INET,
    offers: Offload | None = None,
) -> AsyncIterator[tuple[Agent, Agent]]:
    """Two agents that trust each other; the left one's socket can be made to fail."""
    left = Agent(FailingSocket(family), offers)
    right = Agent(socket.socket(family, socket.SOCK_DGRAM), offers)
    await left.trusts(right)
    await right.trusts(left)
    try:
        yield left, right
    finally:
        await left.protocol.close()
        await right.protocol.close()


def record(size: int, fill: int = 0, first: int = 23) -> bytes:
    """What looks like a DTLS record (or, by its first byte, like something else)."""
    return bytes((first,)) + bytes((fill,)) * (size - 1)
