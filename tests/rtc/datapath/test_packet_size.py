"""Packets grow to what the path takes, and no further."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest
from aiortc import RTCDataChannel

from p2pshare.rtc.datapath import offload
from tests.rtc.datapath.peers import Inbox, Make, Pc, connected, messages, ours, send_all, stock, transport_of

BASE = 1_132


def packet_size(pc: Pc) -> int:
    association = transport_of(pc).stats().association
    assert association is not None
    return association.packet_size


async def until_larger(pc: Pc, size: int, channel: RTCDataChannel, inbox: Inbox) -> None:
    """Send and receive until packets are larger than this."""
    for sent in range(1, 5_000):
        if packet_size(pc) > size:
            break
        channel.send("more")
        await inbox.has(sent)
    assert packet_size(pc) > size
    inbox.messages.clear()


class NarrowSocket(socket.socket):
    """A link that takes 1,340 bytes a datagram."""

    def sendmsg(self, buffers: Any, ancillary: Any = (), *rest: Any) -> int:
        segment = int.from_bytes(ancillary[0][2], "little") if ancillary else sum(map(len, buffers))
        if segment > 1_340:
            raise OSError(errno.EMSGSIZE, "too long")
        return super().sendmsg(buffers, ancillary, *rest)

    def sendto(self, datagram: Any, *rest: Any) -> int:
        if len(datagram) > 1_340:
            raise OSError(errno.EMSGSIZE, "too long")
        return super().sendto(datagram, *rest)


@pytest.mark.parametrize(("make_left", "make_right"), [(ours, ours), (ours, stock)], ids=["ours", "to stock"])
async def test_packets_grow_to_what_the_path_takes(make_left: Make, make_right: Make) -> None:
    async with connected(make_left, make_right) as (left, _, (channel,), incoming):
        await until_larger(left, 1_400 if make_right is ours else BASE, channel, incoming.inboxes["one"])
        planned = messages(20, 31)
        await send_all(channel, planned)
        assert await incoming.inboxes["one"].has(20) == planned
        if make_right is stock:  # it reads 1,500 bytes of a record
            assert packet_size(left) <= 1_500


async def test_what_the_link_refuses_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", NarrowSocket)
    async with connected() as (left, _, (channel,), incoming):
        await until_larger(left, BASE, channel, incoming.inboxes["one"])
        planned = messages(40, 32)
        await send_all(channel, planned)
        assert await incoming.inboxes["one"].has(40) == planned
        assert BASE < packet_size(left) <= 1_340
        assert transport_of(left).stats().socket["too_large"] > 0


async def test_a_peer_that_was_taken_over_is_sent_more_once_it_is_known_as_ours() -> None:
    async with connected(ours, stock) as (left, _, (channel,), incoming):
        transport = transport_of(left)
        transport.peer_is_ours()
        transport.peer_is_ours()
        await send_all(channel, [bytes(65_536)] * 10)
        await incoming.inboxes["one"].has(10)
    transport.peer_is_ours()  # too late, and no harm


def test_the_kernel_knows_the_first_link() -> None:
    assert offload.link_mtu(("127.0.0.1", 9)) >= offload.ETHERNET_MTU
    assert offload.link_mtu(("no address", 9)) == offload.ETHERNET_MTU


def test_elsewhere_ethernet_is_assumed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert offload.link_mtu(("127.0.0.1", 9)) == offload.ETHERNET_MTU
