"""Real peer connections in one process, connected through the network of this machine."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiortc
import pytest
from aiortc import RTCConfiguration, RTCDataChannel
from OpenSSL import SSL

from p2pshare.rtc.datapath import RTCPeerConnection, network, udp
from p2pshare.rtc.datapath.transport import SctpTransport
from p2pshare.rtc.datapath.udp import OffloadTransport

PATIENCE_S = 30.0

Pc = aiortc.RTCPeerConnection
Make = Callable[[], Pc]


def ours() -> Pc:
    return RTCPeerConnection(RTCConfiguration(iceServers=[]))


def stock() -> Pc:
    return Pc(RTCConfiguration(iceServers=[]))


def transport_of(pc: Pc) -> SctpTransport:
    assert isinstance(pc.sctp, SctpTransport)
    return pc.sctp


def newest_dtls() -> int:
    """The number of the newest DTLS version that OpenSSL has: 0xFEFC is 1.3, which 4.0 lacks; 0xFEFD 1.2."""
    try:
        SSL.Context(SSL.DTLS_METHOD).set_min_proto_version(0xFEFC)
    except SSL.Error:
        return 0xFEFD
    return 0xFEFC


async def negotiate(left: Pc, right: Pc) -> None:
    """Offer from the left, answer from the right."""
    await left.setLocalDescription(await left.createOffer())
    await right.setRemoteDescription(left.localDescription)
    await right.setLocalDescription(await right.createAnswer())
    await left.setRemoteDescription(right.localDescription)


async def opened(channel: RTCDataChannel) -> RTCDataChannel:
    """Wait until the channel is open."""
    return await _reached(channel, "open", "open")


async def closed(channel: RTCDataChannel) -> RTCDataChannel:
    """Wait until the channel is closed."""
    return await _reached(channel, "closed", "close")


async def _reached(channel: RTCDataChannel, state: str, event: str) -> RTCDataChannel:
    reached = asyncio.Event()
    channel.on(event, reached.set)
    if channel.readyState != state:
        await asyncio.wait_for(reached.wait(), PATIENCE_S)
    assert channel.readyState == state
    return channel


class Incoming:
    """The channels that a peer opens, by label, with all that arrives on them."""

    def __init__(self, pc: Pc) -> None:
        self.channels: dict[str, RTCDataChannel] = {}
        self.inboxes: dict[str, Inbox] = {}
        self._changed = asyncio.Event()
        pc.on("datachannel", self._opened)

    def _opened(self, channel: RTCDataChannel) -> None:
        self.channels[channel.label] = channel
        self.inboxes[channel.label] = Inbox(channel)
        self._changed.set()

    async def channel(self, label: str) -> RTCDataChannel:
        while label not in self.channels:
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), PATIENCE_S)
        return self.channels[label]


class Inbox:
    """What arrives on a channel."""

    def __init__(self, channel: RTCDataChannel) -> None:
        self.messages: list[bytes | str] = []
        self._arrived = asyncio.Event()
        channel.on("message", self._received)

    def _received(self, message: bytes | str) -> None:
        self.messages.append(message)
        self._arrived.set()

    async def has(self, count: int) -> list[bytes | str]:
        while len(self.messages) < count:
            self._arrived.clear()
            await asyncio.wait_for(self._arrived.wait(), PATIENCE_S)
        return self.messages


PEERS = pytest.mark.parametrize(
    ("make_left", "make_right"),
    [(ours, ours), (ours, stock), (stock, ours)],
    ids=["ours", "to stock", "from stock"],
)


@asynccontextmanager
async def apart(make_left: Make = ours, make_right: Make = ours) -> AsyncIterator[tuple[Pc, Pc]]:
    """Two peers that have not met; closed at the end."""
    left, right = make_left(), make_right()
    try:
        yield left, right
    finally:
        await left.close()
        await right.close()


@asynccontextmanager
async def connected(
    make_left: Make = ours, make_right: Make = ours, *labels: str, **options: Any
) -> AsyncIterator[tuple[Pc, Pc, list[RTCDataChannel], Incoming]]:
    """Two connected peers with channels from the left one, all open."""
    async with apart(make_left, make_right) as (left, right):
        incoming = Incoming(right)
        channels = [left.createDataChannel(label, **options) for label in labels or ("one",)]
        await negotiate(left, right)
        for channel in channels:
            await opened(channel)
            await incoming.channel(channel.label)
        yield left, right, channels, incoming


async def send_all(channel: RTCDataChannel, messages: list[Any], *, high_water: int = 1 << 20) -> None:
    """Send with back-pressure."""
    low = asyncio.Event()
    channel.bufferedAmountLowThreshold = high_water // 2
    channel.on("bufferedamountlow", low.set)
    for message in messages:
        if channel.bufferedAmount > high_water:
            low.clear()
            await asyncio.wait_for(low.wait(), PATIENCE_S)
        channel.send(message)
    channel.remove_listener("bufferedamountlow", low.set)


def messages(count: int, seed: int) -> list[bytes | str]:
    """Bytes and texts of 0 to 256 KiB, the sizes around a packet's more often."""
    dice = random.Random(seed)
    sizes = [
        0,
        1,
        3,
        5,
        100,
        1_103,
        1_104,
        1_105,
        1_159,
        1_160,
        1_161,
        2_320,
        16_384,
        65_535,
        65_536,
        262_144,
    ]
    made: list[bytes | str] = []
    for _ in range(count):
        size = dice.choice(sizes)
        if dice.random() < 0.3:
            made.append("xé"[: 1 + size % 2] * (size // 3))
        else:
            made.append(dice.randbytes(size))
    return made


class LossyTransport(OffloadTransport):
    """Loses datagrams at random as they arrive: records, STUN and media alike."""

    loss = 0.0
    dice = random.Random(1)

    def _deliver(self, start: int, stop: int, segment: int, address: Any) -> int:
        view = udp._receive_buffer.view
        kept = start
        for at in range(start, stop, segment):
            end = min(at + segment, stop)
            if self.dice.random() >= self.loss:
                view[kept : kept + end - at] = bytes(view[at:end])
                kept += end - at
        return super()._deliver(start, kept, min(segment, kept - start), address) if kept > start else 0


def lose(monkeypatch: pytest.MonkeyPatch, loss: float) -> None:
    """Have every socket of ours lose this share of what arrives."""
    monkeypatch.setattr(LossyTransport, "loss", loss)
    monkeypatch.setattr(LossyTransport, "dice", random.Random(5))
    monkeypatch.setattr(network, "OffloadTransport", LossyTransport)
