"""Strangers, garbage and absurd peers do not disturb a connection."""

from __future__ import annotations

import asyncio
import errno
import random
import socket
import struct
from itertools import chain, cycle, islice, repeat
from typing import Any

import pytest

from p2pshare.rtc.datapath import datachannels, seams
from p2pshare.rtc.datapath import transport as transport_module
from p2pshare.rtc.datapath.udp import OffloadTransport
from p2pshare.rtc.sctp import AssociationConfig, MessageReceived
from tests.rtc.datapath.peers import (
    Incoming,
    LossyTransport,
    Pc,
    apart,
    closed,
    connected,
    lose,
    negotiate,
    opened,
    send_all,
    transport_of,
)


def own_socket(pc: Pc) -> OffloadTransport:
    chosen = transport_of(pc)._wire.network.chosen()
    assert chosen is not None
    return chosen


def junk(count: int) -> list[bytes]:
    dice = random.Random(3)
    made = [b"", b"\0", b"\x16", b"\x17\xfe\xfd", b"\x80"]
    for first in (0, 1, 20, 21, 22, 23, 63, 100, 128, 200):
        made += [bytes((first,)) + dice.randbytes(size) for size in (1, 12, 19, 100, 1_200)]
    handshake = b"\x16\xfe\xfd" + bytes(8) + b"\0\x20" + bytes(32)
    alert = b"\x15\xfe\xfd" + bytes(8) + b"\0\2\2\x28"
    return list(islice(cycle([*made, handshake, alert]), count))


async def test_what_a_stranger_sends_disturbs_no_transfer() -> None:
    async with connected() as (left, right, (channel,), incoming):
        stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        targets = [own_socket(pc).get_extra_info("sockname") for pc in (left, right)]
        blocks = [i.to_bytes(4, "big") * 16_000 for i in range(60)]
        with stranger:
            for batch in range(6):
                for datagram in junk(60):
                    for target in targets:
                        stranger.sendto(datagram, target)
                await send_all(channel, blocks[batch * 10 : batch * 10 + 10])
        assert await incoming.inboxes["one"].has(60) == blocks
        for pc in (left, right):
            dropped = transport_of(pc).stats().dropped
            assert dropped["empty"] > 0
            assert dropped["strange"] > 0
            assert dropped["malformed"] > 0
            assert pc.connectionState == "connected"
            assert seams.received(seams.ice_connection(transport_of(pc).transport)).qsize() == 0


async def test_a_connection_comes_up_while_a_stranger_sprays_its_sockets() -> None:
    async with apart() as (left, right):
        channel = left.createDataChannel("one")
        incoming = Incoming(right)
        spraying = True

        async def spray(stranger: socket.socket) -> None:
            while spraying:
                for pc in (left, right):
                    agent = seams.ice_connection(transport_of(pc).transport) if pc.sctp else None
                    for protocol in seams.protocols(agent) if agent else ():
                        family = protocol.transport.get_extra_info("socket").family
                        if family == socket.AF_INET:
                            for datagram in junk(70):
                                stranger.sendto(datagram, protocol.transport.get_extra_info("sockname"))
                await asyncio.sleep(0)

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.setblocking(False)
            async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
                tasks.create_task(spray(stranger))
                await negotiate(left, right)
                await opened(channel)
                await incoming.channel("one")
                spraying = False
        assert left.connectionState == right.connectionState == "connected"
        assert transport_of(left).stats().dropped["strange"] > 0


async def test_garbage_from_the_peers_own_address_costs_only_itself() -> None:
    async with connected() as (left, right, (channel,), incoming):
        target = own_socket(right).get_extra_info("sockname")
        blocks = [i.to_bytes(4, "big") * 16_000 for i in range(60)]
        for batch in range(6):
            await send_all(channel, blocks[batch * 10 : batch * 10 + 10])
            for datagram in junk(60):
                own_socket(left).sendto(datagram, target)
            size = 1_200
            train = b"".join(bytes((first,)) * size for first in (23, 1, 22, 128, 23, 21))
            own_socket(left).send_train(memoryview(train), size, target)
        assert await incoming.inboxes["one"].has(60) == blocks
        assert right.connectionState == "connected"


class Stubborn(socket.socket):
    """Fails now and then, as the networks that tests cannot have do."""

    errors: Any = repeat(None)

    def sendmsg(self, *args: Any) -> int:
        self._fail()
        return super().sendmsg(*args)

    def sendto(self, *args: Any) -> int:
        self._fail()
        return super().sendto(*args)

    def _fail(self) -> None:
        failure = next(type(self).errors)
        if failure is not None:
            raise OSError(failure, "stubborn")


@pytest.mark.parametrize(
    "errors",
    [
        cycle([*repeat(None, 6), errno.EAGAIN]),
        chain(repeat(None, 60), [errno.EIO], repeat(None)),
        chain(repeat(None, 60), [errno.EINVAL], repeat(None)),
        cycle([*repeat(None, 40), errno.ENOBUFS]),
    ],
    ids=["EAGAIN", "EIO", "EINVAL", "ENOBUFS"],
)
async def test_a_socket_that_fails_now_and_then_loses_no_content(
    errors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stubborn, "errors", errors)
    monkeypatch.setattr(socket, "socket", Stubborn)
    async with connected() as (left, _, (channel,), incoming):
        blocks = [i.to_bytes(4, "big") * 16_000 for i in range(100)]
        await send_all(channel, blocks)
        assert await incoming.inboxes["one"].has(100) == blocks
        assert left.connectionState == "connected"


THE_CHANNEL = -1


def dcep_open(
    label: bytes = b"x", *, kind: int = 0, label_size: int | None = None, protocol_size: int = 0
) -> bytes:
    return (
        struct.pack("!BBHLHH", 3, kind, 0, 0, len(label) if label_size is None else label_size, protocol_size)
        + label
    )


@pytest.mark.parametrize(
    ("stream_id", "ppid", "payload"),
    [
        (THE_CHANNEL, 50, dcep_open()),  # it exists
        (101, 50, dcep_open(b"\xff\xfe")),
        (101, 50, dcep_open(b"x", label_size=60_000)),
        (101, 50, dcep_open(b"x", protocol_size=9)),
        (101, 50, dcep_open()[:11]),
        (101, 50, b"\3"),
        (101, 50, b"\x63"),
        (101, 50, b""),
        (101, 50, b"\2"),  # an ACK of no channel
        (THE_CHANNEL, 51, b"\xc3\x28"),
        (THE_CHANNEL, 99, b"what"),
        (77, 53, b"to nobody"),
        (77, 51, b"to nobody"),
        (65_535, 50, dcep_open()),
    ],
)
async def test_an_absurd_message_is_dropped_and_counted(stream_id: int, ppid: int, payload: bytes) -> None:
    async with connected() as (left, right, (channel,), incoming):
        transport = transport_of(right)
        before = sum(transport._channels.drops.values())
        assert channel.id is not None
        transport._handle(
            MessageReceived(channel.id if stream_id == THE_CHANNEL else stream_id, ppid, payload)
        )
        assert sum(transport._channels.drops.values()) == before + 1
        assert set(incoming.channels) == {"one"}
        channel.send("unharmed")
        assert await incoming.inboxes["one"].has(1) == ["unharmed"]
        assert left.connectionState == right.connectionState == "connected"


async def test_a_peer_cannot_open_channels_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datachannels, "MAX_PEER_CHANNELS", 5)
    async with connected() as (left, right, _, incoming):
        for i in range(4):
            await opened(left.createDataChannel(f"c{i}"))
        left.createDataChannel("one too many")
        last = right.createDataChannel("back")
        await opened(last)
        assert len(incoming.channels) == 5
        assert transport_of(right).stats().dropped["OPEN of a channel too many"] == 1
        incoming.channels["c0"].close()
        await closed(incoming.channels["c0"])
        await opened(left.createDataChannel("room again"))


async def test_a_silent_peer_is_reported_and_its_return_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def hasty(**options: Any) -> AssociationConfig:
        return AssociationConfig(
            **options, heartbeat_interval_s=0.05, unresponsive_after_s=0.3, failed_after_s=1.5
        )

    monkeypatch.setattr(transport_module, "AssociationConfig", hasty)
    lose(monkeypatch, 0.0)
    async with connected() as (left, _, (channel,), _):
        transport = transport_of(left)
        seen: asyncio.Queue[str] = asyncio.Queue()
        transport.on("livenesschange", lambda: seen.put_nowait(transport.liveness))
        for loss, liveness in ((1.0, "disconnected"), (0.0, "connected"), (1.0, "disconnected")):
            monkeypatch.setattr(LossyTransport, "loss", loss)
            assert await asyncio.wait_for(seen.get(), 10) == liveness
        assert await asyncio.wait_for(seen.get(), 10) == "failed"
        assert channel.readyState == "closed"
        monkeypatch.setattr(LossyTransport, "loss", 0.0)
