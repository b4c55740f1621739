"""A stock aiortc SCTP transport as the peer of an association, in memory: no sockets, no DTLS, real time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any, cast

from aiortc import RTCDataChannel, RTCSctpTransport
from aiortc.rtcdatachannel import RTCDataChannelParameters
from aiortc.rtcsctptransport import RTCSctpCapabilities

from p2pshare.rtc.sctp import Association, AssociationConfig, AssociationEvent, MessageReceived
from tests.rtc.sctp.link import give, packets_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiortc.rtcdtlstransport import RTCDtlsTransport


class FakeDtls:
    """As much of a DTLS transport as `RTCSctpTransport` looks at: packets go to a function."""

    state = "connected"

    def __init__(self, role: str, send: Callable[[bytes], None]) -> None:
        self._role = role
        self._send = send
        self.receiver: Any = None

    def _register_data_receiver(self, receiver: object) -> None:
        self.receiver = receiver

    def _unregister_data_receiver(self, receiver: object) -> None:
        self.receiver = None

    async def _send_data(self, packet: bytes) -> None:
        self._send(packet)


class StockPair:
    """Ours on the left, aiortc's on the right."""

    def __init__(self, config: AssociationConfig, *, loss: float = 0.0, seed: int = 1) -> None:
        self._loop = asyncio.get_running_loop()
        self._random = Random(seed)
        self._loss = loss
        self.ours = Association(config, is_client=True, random=os.urandom, now=self._loop.time())
        self.events: list[AssociationEvent] = []
        self._to_stock: asyncio.Queue[bytes] = asyncio.Queue()
        self._from_stock: asyncio.Queue[bytes] = asyncio.Queue()
        dtls = FakeDtls("server", self._from_stock.put_nowait)
        self.stock = RTCSctpTransport(cast("RTCDtlsTransport", dtls))
        self._dtls = dtls
        self._changed = asyncio.Event()

    def channel(self, number: int, label: str = "", **options: Any) -> RTCDataChannel:
        """A negotiated channel at the stock end."""
        return RTCDataChannel(
            self.stock, RTCDataChannelParameters(label=label, negotiated=True, id=number, **options)
        )

    @property
    def messages(self) -> list[tuple[int, int, bytes]]:
        return [(e.stream_id, e.ppid, e.payload) for e in self.events if isinstance(e, MessageReceived)]

    def send(self, stream_id: int, payload: bytes, **options: Any) -> None:
        self.ours.send(stream_id, 53, payload, now=self._loop.time(), **options)
        self._from_stock.put_nowait(b"")

    def reset(self, *stream_ids: int) -> None:
        self.ours.reset_streams(stream_ids, self._loop.time())
        self._from_stock.put_nowait(b"")

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds; the test's own timeout ends it."""
        while not holds():
            self._changed.clear()
            await self._changed.wait()

    def _drain(self) -> None:
        now = self._loop.time()
        while (train := self.ours.write(now)) is not None:
            for packet in packets_of(self.ours, train):
                if self._random.random() >= self._loss:
                    self._to_stock.put_nowait(packet)
        self.events += self.ours.take_events()
        self._changed.set()

    async def _run_ours(self) -> None:
        while True:
            self._drain()
            due = self.ours.next_timer()
            wait = None if due is None else max(0.0, due - self._loop.time())
            try:
                async with asyncio.timeout(wait):
                    packets = [await self._from_stock.get()]
            except TimeoutError:
                self.ours.handle_timer(self._loop.time())
                continue
            while not self._from_stock.empty():
                packets.append(self._from_stock.get_nowait())
            now = self._loop.time()
            for packet in packets:
                if packet and self._random.random() >= self._loss:
                    give(self.ours, packet, now)
            self.ours.end_of_batch(now)

    async def _run_stock(self) -> None:
        while True:
            packet = await self._to_stock.get()
            if self._dtls.receiver is not None:
                await self._dtls.receiver._handle_data(packet)
            self._changed.set()

    @asynccontextmanager
    async def running(self, *, both_connect: bool = True) -> AsyncIterator[StockPair]:
        async with asyncio.TaskGroup() as tasks:
            mine = tasks.create_task(self._run_ours())
            theirs = tasks.create_task(self._run_stock())
            if both_connect:
                self.ours.connect(self._loop.time())
            await self.stock.start(RTCSctpCapabilities(maxMessageSize=262_144), 5000)
            try:
                yield self
            finally:
                await self.stock.stop()
                mine.cancel()
                theirs.cancel()
