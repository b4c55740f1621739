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


@asynccontextmanager
async def connected(
    make_left: Callable[[], Pc] = ours, make_right: Callable[[], Pc] = ours, *labels: str, **options: Any
) -> AsyncIterator[tuple[Pc, Pc, list[RTCDataChannel], Incoming]]:
    """Two connected peers with channels from the left one, all open."""
    left, right = make_left(), make_right()
    incoming = Incoming(right)
    channels = [left.createDataChannel(label, **options) for label in labels or ("one",)]
    try:
        await negotiate(left, right)
        for channel in channels:
            await opened(channel)
            await incoming.channel(channel.label)
        yield left, right, channels, incoming
    finally:
        await left.close()
        await right.close()


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

    def _deliver(self, size: int, segment: int, address: Any) -> None:
        view = udp._receive_buffer.view
        kept = 0
        for start in range(0, size, segment):
            stop = min(start + segment, size)
            if self.dice.random() >= self.loss:
                view[kept : kept + stop - start] = bytes(view[start:stop])
                kept += stop - start
        if kept:
            super()._deliver(kept, min(segment, kept), address)


def lose(monkeypatch: pytest.MonkeyPatch, loss: float) -> None:
    """Have every socket of ours lose this share of what arrives."""
    monkeypatch.setattr(LossyTransport, "loss", loss)
    monkeypatch.setattr(LossyTransport, "dice", random.Random(5))
    monkeypatch.setattr(network, "OffloadTransport", LossyTransport)
