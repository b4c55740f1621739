"""Sharing over a connection that a program owns: its media, its channels and its handlers notice nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiortc import RTCDataChannel, RTCPeerConnection

import p2pshare
from p2pshare import events as ev
from p2pshare.errors import SharingNotAvailable
from p2pshare.model import MIB, Limits
from p2pshare.session import Link, Session
from p2pshare.storage import from_bytes
from tests.session.peers import Heard, offer_of
from tests.support.connections import connect, new_pc, two_pcs
from tests.support.media import MediaCounter, PictureTrack, ToneTrack


@asynccontextmanager
async def call() -> AsyncIterator[tuple[RTCPeerConnection, RTCPeerConnection, MediaCounter, MediaCounter]]:
    """Two ends of a call that has audio, video and a channel of the program's own, not yet connected."""
    async with two_pcs() as (one, two):
        counters = MediaCounter(one), MediaCounter(two)
        for pc in (one, two):
            pc.addTrack(ToneTrack())
            pc.addTrack(PictureTrack())
        yield one, two, *counters
    for counter in counters:
        await asyncio.wait(counter.tasks)


class OwnChannels:
    """What the program's own ``datachannel`` handler saw, and an echo on it."""

    def __init__(self, pc: RTCPeerConnection) -> None:
        self.seen: list[RTCDataChannel] = []
        pc.on("datachannel", self._add)

    def _add(self, channel: RTCDataChannel) -> None:
        self.seen.append(channel)
        channel.on("message", channel.send)


async def is_echoed(channel: RTCDataChannel, text: str) -> None:
    echo: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    channel.once("message", echo.set_result)
    channel.send(text)
    assert await echo == text


async def share(one: Session, two: Session, size: int) -> None:
    """A file each way at once."""
    one_heard, two_heard = Heard(one), Heard(two)
    there = one.send_files(from_bytes("there.bin", b"t" * size), to="two")
    back = two.send_files(from_bytes("back.bin", b"b" * size), to="one")
    at_two = two.download_file((await offer_of(two_heard)).files[0], save_to=None)
    at_one = one.download_file((await offer_of(one_heard)).files[0], save_to=None)
    assert await at_two == b"t" * size
    assert await at_one == b"b" * size
    await there
    await back


@pytest.mark.parametrize("when", ["before", "between", "after"])
@pytest.mark.parametrize("first", ["offerer", "answerer"])
async def test_a_call_goes_on_while_files_travel_and_after(when: str, first: str) -> None:
    async with call() as (one_pc, two_pc, one_media, two_media), Session() as one, Session() as two:
        mine = one_pc.createDataChannel("mine")
        theirs = OwnChannels(two_pc)
        opened = asyncio.Event()
        mine.on("open", opened.set)
        attached = [(one, one_pc, "two"), (two, two_pc, "one")]
        if first == "answerer":
            attached.reverse()
        links: list[Link] = []

        def attach_next() -> None:
            session, pc, peer = attached[len(links)]
            links.append(session.attach(pc, peer=peer))

        if when == "before":
            attach_next()
        if when in ("before", "between"):
            attach_next()
        await connect(one_pc, two_pc)
        await opened.wait()
        while len(links) < 2:
            attach_next()
        for link in links:
            await link.ready()
        await one_media.more(5)
        await share(one, two, MIB)
        await is_echoed(mine, "during")
        await one_media.more(5)
        await two_media.more(5)
        await one.close()
        await two.close()
        await one_media.more(5)
        await two_media.more(5)
        await is_echoed(mine, "after")
        assert [channel.label for channel in theirs.seen] == ["mine"]
        assert one_pc.connectionState == two_pc.connectionState == "connected"


async def test_attach_makes_a_session_of_one_connection(tmp_path: Path) -> None:
    async with two_pcs() as (one_pc, two_pc):
        one, two = p2pshare.attach(one_pc, peer="two"), p2pshare.attach(two_pc, peer="one")
        await connect(one_pc, two_pc)
        heard = Heard(two)
        upload = one.send_files(from_bytes("a", b"1"), to="two")  # before the link is ready: it waits
        assert await two.download_file((await offer_of(heard)).files[0], save_to=None) == b"1"
        await upload
        await one.close()
        await two.close()


async def test_a_connection_is_attached_once_and_a_name_is_taken_once() -> None:
    async with two_pcs() as (one_pc, two_pc), Session() as session, Session() as other:
        session.attach(one_pc, peer="bob")
        with pytest.raises(ValueError, match="attached already"):
            session.attach(one_pc, peer="carol")
        with pytest.raises(ValueError, match="attached already"):
            other.attach(one_pc, peer="bob")
        with pytest.raises(ValueError, match="'bob'"):
            session.attach(two_pc, peer="bob")
        other.attach(two_pc, peer="bob")


async def test_after_closing_a_connection_can_be_attached_again() -> None:
    async with two_pcs() as (one_pc, two_pc):
        await _attach_both_and_share(one_pc, two_pc, is_first=True)
        await _attach_both_and_share(one_pc, two_pc, is_first=False)


async def _attach_both_and_share(
    one_pc: RTCPeerConnection, two_pc: RTCPeerConnection, *, is_first: bool
) -> None:
    async with Session() as one, Session() as two:
        one_link, two_link = one.attach(one_pc, peer="two"), two.attach(two_pc, peer="one")
        if is_first:
            await connect(one_pc, two_pc)
        await one_link.ready()
        await two_link.ready()
        await share(one, two, 1000)


async def test_a_connection_without_a_data_section_is_refused_with_what_to_do() -> None:
    async with call() as (one_pc, two_pc, _, two_media), Session() as session:
        await connect(one_pc, two_pc)
        await two_media.more(1)
        with pytest.raises(SharingNotAvailable, match="renegotiate"):
            session.attach(one_pc, peer="two")
        assert one_pc.connectionState == "connected"
        assert not session.peers


async def test_a_taken_id_is_named() -> None:
    pc = new_pc()
    pc.createDataChannel("mine", negotiated=True, id=240)
    async with Session() as session:
        with pytest.raises(SharingNotAvailable, match="240"):
            session.attach(pc, peer="bob")
    assert not pc.listeners("connectionstatechange")
    await pc.close()


async def test_a_peer_without_p2pshare_is_not_available_until_it_attaches() -> None:
    limits = p2pshare.Limits(hello_timeout_s=0.2)
    async with two_pcs() as (one_pc, two_pc), Session(limits=limits) as one, Session() as two:
        two_pc.createDataChannel("something else")
        heard = Heard(one)
        link = one.attach(one_pc, peer="two")
        await connect(one_pc, two_pc)
        with pytest.raises(SharingNotAvailable, match="does not answer"):
            await link.ready()
        assert (await heard.first(ev.LinkFailed)).peer == "two"
        await two.attach(two_pc, peer="one").ready()
        await link.ready()
        await share(one, two, 10)


async def test_a_connection_that_closes_takes_the_peer_with_it() -> None:
    async with (
        two_pcs() as (one_pc, two_pc),
        Session(limits=Limits(reconnect_timeout_s=0)) as one,
        Session() as two,
    ):
        link = one.attach(one_pc, peer="two")
        two.attach(two_pc, peer="one")
        await connect(one_pc, two_pc)
        await link.ready()
        heard = Heard(one)
        upload = one.send_files(from_bytes("a", b"1"), to="two")
        await offer_of(Heard(two))
        await two_pc.close()
        await heard.first(ev.PeerLeft)
        with pytest.raises(p2pshare.UploadError) as raised:
            await upload
        assert isinstance(raised.value.failures["two"], p2pshare.ConnectionLost)
        late = one.send_files(from_bytes("a", b"1"), to="two")
        with pytest.raises(p2pshare.UploadError) as raised:
            await late
        assert raised.value.failures["two"].code == 5091


async def test_two_ends_that_were_taken_over_learn_that_they_take_trains() -> None:
    async with two_pcs() as (one_pc, two_pc), Session() as one, Session() as two:
        opened = asyncio.Event()
        one_pc.createDataChannel("mine").on("open", opened.set)
        await connect(one_pc, two_pc)
        await opened.wait()  # stock made the handshake
        links = one.attach(one_pc, peer="two"), two.attach(two_pc, peer="one")
        for link in links:
            await link.ready()
        await share(one, two, MIB)
        for link in links:
            path = link.stats().path
            assert path is not None
            assert path.association is not None
            assert path.association.packet_size > 1200


async def test_a_session_can_leave_a_connection_to_aiortc() -> None:
    async with two_pcs() as (one_pc, two_pc), Session(accelerate=False) as one, Session() as two:
        links = one.attach(one_pc, peer="two"), two.attach(two_pc, peer="one")
        await connect(one_pc, two_pc)
        for link in links:
            await link.ready()
        await share(one, two, MIB)
        assert links[0].stats().path is None
        assert links[1].stats().path is not None
