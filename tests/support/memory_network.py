"""Connections in memory, with the face of `p2pshare.rtc`: paths with a rate and a delay that can be cut.

What a cut path holds up arrives when it is healed, as SCTP sees to it; a connection that was cut for 30 s is
gone, as ICE's consent is. A process that is killed says nothing any more, and its peer hears nothing.
The control channel is not held up by the job streams; within each of the two, order is kept.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from p2pshare.errors import SharingNotAvailable
from p2pshare.protocol.outbox import CONTROL_CHANNEL
from tests.support.virtual import Process

if TYPE_CHECKING:
    from tests.support.memory_channels import MemoryChannels

CONSENT_S: Final = 30.0
"Seconds without the other side after which a connection is gone (RFC 7675)."


class Signal(Enum):
    """What travels besides messages."""

    RESET = "reset of a stream"
    RESET_DONE = "the answer to it"
    BYE = "the other side closes the connection"


Observer = Callable[["MemoryPeerConnection", bytes, bool], None]
"""Called with the end that sent it, a message, and whether it arrives now (else it is being sent)."""


class MemoryNetwork:
    """All hosts, and what is between them."""

    def __init__(self, *, rate: float = 20e6, delay_s: float = 0.005) -> None:
        """``rate`` is the job streams' bytes a second, each way of each connection."""
        self.rate = rate
        self.delay_s = delay_s
        self.observers: list[Observer] = []
        self.failures: list[Exception] = []
        "What listeners raised: nothing ever should."
        self.described: dict[str, MemoryPeerConnection] = {}
        self.numbers = itertools.count(1)
        self._cut: set[str] = set()
        self._changes: list[Callable[[], None]] = []

    def is_cut(self, *hosts: str) -> bool:
        """Whether one of the hosts hears nothing and is not heard."""
        return not self._cut.isdisjoint(hosts)

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back whenever a cable was cut or healed."""
        self._changes.append(callback)

    def cut(self, host: str) -> None:
        """Pull a host's cable."""
        self._cut.add(host)
        self._changed()

    def heal(self, host: str) -> None:
        """Put it back."""
        self._cut.discard(host)
        self._changed()

    def kill(self, process: Process) -> None:
        """Its connections say nothing any more."""
        for connection in list(self.described.values()):
            if connection.process is process:
                connection.vanish()

    def observe(self, connection: MemoryPeerConnection, message: bytes, *, arrives: bool) -> None:
        for observer in list(self.observers):
            observer(connection, message, arrives)

    def _changed(self) -> None:
        for callback in list(self._changes):
            callback()


class MemoryPeerConnection:
    """In place of `p2pshare.rtc.PeerConnection`, and of the aiortc connection in it."""

    network: MemoryNetwork
    "Set by who patches this in."

    def __init__(self, ice_servers: Sequence[object] = (), *, accelerate: bool = True) -> None:
        self.process = Process.current()
        self.pc = self
        self.number = next(self.network.numbers)
        self.connectionState = "new"
        self.remote: MemoryPeerConnection | None = None
        self.channels: MemoryChannels | None = None
        self._lanes: tuple[_Lane, _Lane] | None = None
        self._consent: asyncio.TimerHandle | None = None
        self.network.described[str(self.number)] = self
        self.network.on_change(self._path_changed)

    async def create_offer(self) -> dict[str, str]:
        return {"type": "offer", "sdp": str(self.number)}

    async def accept_offer(self, description: object) -> dict[str, str]:
        self._take(description)
        return {"type": "answer", "sdp": str(self.number)}

    async def accept_answer(self, description: object) -> None:
        self._take(description)
        assert self.remote is not None
        for end in (self, self.remote):
            end._connect()

    async def close(self) -> None:
        if self.connectionState == "closed":
            return
        if self._lanes is not None and not self.is_cut:
            self._lanes[0].clear()
            self._lanes[1].clear()
            self._lanes[0].send(CONTROL_CHANNEL, Signal.BYE, 0)
        self._closed()

    def vanish(self) -> None:
        """The process was killed: nothing of what waits is sent, and nobody hears of it."""
        for lane in self._lanes or ():
            lane.clear()
        self._closed()
        if self.remote is not None:
            self.remote._path_changed()

    @property
    def is_cut(self) -> bool:
        """Whether nothing passes between the two ends."""
        remote = self.remote
        if remote is None or remote.connectionState == "closed":
            return True
        return self.network.is_cut(self.process.host, remote.process.host)

    def waiting(self, channel: int) -> int:
        """Bytes that the other side does not have yet."""
        return 0 if self._lanes is None else self._lanes[channel != CONTROL_CHANNEL].waiting

    def transmit(self, channel: int, item: bytes | Signal) -> None:
        if self._lanes is None or self.process.is_dead or self.connectionState != "connected":
            return
        if isinstance(item, bytes):
            self.network.observe(self, item, arrives=False)
        if not self.process.is_dead:  # an observer may have killed it
            size = len(item) if isinstance(item, bytes) else 0
            self._lanes[channel != CONTROL_CHANNEL].send(channel, item, size)

    def arrived(self, channel: int, item: bytes | Signal) -> None:
        """Something from the other side, in the context of this end's process."""
        assert self.remote is not None
        if isinstance(item, bytes):
            self.network.observe(self.remote, item, arrives=True)
        if self.process.is_dead or self.connectionState == "closed" or self.channels is None:
            return
        if item is Signal.BYE:
            self._lost("the connection is closed")
        else:
            self.channels.arrived(channel, item)

    def _take(self, description: object) -> None:
        assert isinstance(description, dict)
        remote = self.network.described.get(description["sdp"])
        if remote is None or remote.connectionState == "closed" or self.connectionState == "closed":
            raise SharingNotAvailable("the description is of a connection that is closed")
        self.remote = remote
        if remote.remote is None:
            remote.remote = self

    def _connect(self) -> None:
        if self.connectionState == "new":
            self.connectionState = "connecting"
            self._later(4 * self.network.delay_s, self._connected)

    def _connected(self) -> None:
        if self.connectionState != "connecting" or self.is_cut:
            return
        assert self.remote is not None
        self._lanes = (
            _Lane(self, self.remote, self.network.delay_s, None),
            _Lane(self, self.remote, self.network.delay_s, self.network.rate),
        )
        self.connectionState = "connected"
        if self.channels is not None:
            self.channels.connected()

    def _path_changed(self) -> None:
        if self.connectionState in ("new", "closed") or self.process.is_dead:
            return
        if not self.is_cut:
            if self._consent is not None:
                self._consent.cancel()
                self._consent = None
            self._later(self.network.delay_s, self._connected)
            for lane in self._lanes or ():
                lane.resume()
        elif self._consent is None and self.connectionState == "connected":
            self._consent = self._later(CONSENT_S, self._lost, "the connection is failed")

    def _lost(self, reason: str) -> None:
        self._closed()
        if self.channels is not None:
            self.channels.lost(reason)

    def _closed(self) -> None:
        self.connectionState = "closed"
        if self._consent is not None:
            self._consent.cancel()
            self._consent = None

    def _later(self, delay: float, call: Callable[..., None], *args: object) -> asyncio.TimerHandle:
        loop = asyncio.get_running_loop()
        return loop.call_later(delay, call, *args, context=self.process.context)


@dataclass(slots=True)
class _Item:
    at: float
    channel: int
    item: bytes | Signal
    size: int


class _Lane:
    """One way of a connection, in order."""

    def __init__(
        self, sender: MemoryPeerConnection, receiver: MemoryPeerConnection, delay_s: float, rate: float | None
    ) -> None:
        self.waiting = 0
        self._sender = sender
        self._receiver = receiver
        self._delay_s = delay_s
        self._rate = rate
        self._items: deque[_Item] = deque()
        self._busy_until = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def send(self, channel: int, item: bytes | Signal, size: int) -> None:
        now = asyncio.get_running_loop().time()
        self._busy_until = max(now, self._busy_until) + (size / self._rate if self._rate else 0.0)
        self._items.append(_Item(self._busy_until + self._delay_s, channel, item, size))
        self.waiting += size
        self._arm()

    def resume(self) -> None:
        """The path is whole again: what waited is sent once more."""
        loop = asyncio.get_running_loop()
        for item in self._items:
            item.at = max(item.at, loop.time() + self._delay_s)
        self._arm()

    def clear(self) -> None:
        self._items.clear()
        self.waiting = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is None and self._items:
            context = self._receiver.process.context
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._items[0].at, self._arrive, context=context)

    def _arrive(self) -> None:
        self._timer = None
        network = self._sender.network
        if not self._items or network.is_cut(self._sender.process.host, self._receiver.process.host):
            return  # resume() goes on
        arrived = self._items.popleft()
        self.waiting -= arrived.size
        self._receiver.arrived(arrived.channel, arrived.item)
        if self._sender.channels is not None and not self._sender.process.is_dead:
            self._sender.process.call(self._sender.channels.took, arrived.channel)
        self._arm()
