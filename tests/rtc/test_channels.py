"""Channels on real connections: what a listener hears, and what the program never notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiortc import RTCDataChannel, RTCPeerConnection

from p2pshare.errors import SharingNotAvailable
from p2pshare.rtc.channels import HIGH_WATER, Channels
from tests.support.connections import connect, new_pc, two_pcs

CONTROL, STREAM = 240, 241


class Ear:
    """A listener that writes down what it hears, and can be waited for."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []
        self.raises: Exception | None = None
        self._changed = asyncio.Event()

    def _hear(self, *what: object) -> None:
        self.heard.append(what)
        self._changed.set()
        if self.raises is not None:
            raise self.raises

    def channel_opened(self, channel_id: int) -> None:
        self._hear("opened", channel_id)

    def message_received(self, channel_id: int, message: bytes) -> None:
        self._hear("message", channel_id, message)

    def text_received(self, channel_id: int) -> None:
        self._hear("text", channel_id)

    def channel_closed(self, channel_id: int) -> None:
        self._hear("closed", channel_id)

    def writable(self, channel_id: int) -> None:
        self._hear("writable", channel_id)

    def connection_closed(self, reason: str) -> None:
        self._hear("gone", reason)

    def failed(self, error: Exception) -> None:
        self.raises = None
        self._hear("failed", error)

    async def until(self, *what: object) -> None:
        while what not in self.heard:
            self._changed.clear()
            await self._changed.wait()


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Channels, Ear, Channels, Ear]]:
    async with two_pcs() as (one_pc, two_pc):
        one_ear, two_ear = Ear(), Ear()
        one, two = Channels(one_pc, one_ear), Channels(two_pc, two_ear)
        one.open(CONTROL)
        two.open(CONTROL)
        await connect(one_pc, two_pc)
        await one_ear.until("opened", CONTROL)
        await two_ear.until("opened", CONTROL)
        yield one, one_ear, two, two_ear


async def test_messages_arrive_in_order_on_their_channels() -> None:
    async with connected() as (one, _, two, ear):
        one.open(STREAM)
        two.open(STREAM)
        for number in range(50):
            one.send(STREAM, bytes([number]) * 1000)
        one.send(CONTROL, b"")
        await ear.until("message", STREAM, bytes([49]) * 1000)
        messages = [what for what in ear.heard if what[:2] == ("message", STREAM)]
        assert messages == [("message", STREAM, bytes([number]) * 1000) for number in range(50)]
        await ear.until("message", CONTROL, b"")


async def test_a_channel_on_an_open_connection_opens_after_the_call() -> None:
    async with connected() as (one, ear, _, _):
        one.open(STREAM)
        assert ("opened", STREAM) not in ear.heard
        await ear.until("opened", STREAM)


async def test_the_largest_message_is_what_the_peer_says() -> None:
    async with connected() as (one, _, _, _):
        assert one.max_message_size == 262_144


async def test_above_the_high_water_mark_a_stream_has_no_room_until_it_is_empty() -> None:
    async with connected() as (one, ear, two, _):
        for stream in (STREAM, STREAM + 1):
            one.open(stream)
            two.open(stream)
        messages = 0
        while one.has_room(STREAM):
            one.send(STREAM, bytes(32_768))
            messages += 1
        assert HIGH_WATER <= messages * 32_768 <= HIGH_WATER + 32_768
        assert not one.has_room(STREAM + 1)
        assert one.has_room(CONTROL)
        await ear.until("writable", STREAM)
        assert one.has_room(STREAM)


async def test_a_closed_channel_is_told_at_both_ends_and_its_id_is_free_again() -> None:
    async with connected() as (one, one_ear, two, two_ear):
        for _ in range(2):
            one.open(STREAM)
            two.open(STREAM)
            one.send(STREAM, b"last words")
            one.close_channel(STREAM)
            await two_ear.until("message", STREAM, b"last words")
            await one_ear.until("closed", STREAM)
            await two_ear.until("closed", STREAM)
            one_ear.heard.clear()
            two_ear.heard.clear()
        one.send(STREAM, b"to nobody")  # dropped
        one.close_channel(STREAM)


async def test_an_id_that_the_program_uses_is_refused_by_name() -> None:
    async with two_pcs() as (pc, _):
        pc.createDataChannel("mine", negotiated=True, id=CONTROL)
        with pytest.raises(SharingNotAvailable, match="240"):
            Channels(pc, Ear()).open(CONTROL)


async def test_the_programs_own_channels_and_handlers_notice_nothing() -> None:
    async with two_pcs() as (one_pc, two_pc):
        theirs: list[RTCDataChannel] = []
        two_pc.on("datachannel", theirs.append)
        mine = one_pc.createDataChannel("mine")
        one_ear, two_ear = Ear(), Ear()
        one, two = Channels(one_pc, one_ear), Channels(two_pc, two_ear)
        one.open(CONTROL)
        two.open(CONTROL)
        await connect(one_pc, two_pc)
        await one_ear.until("opened", CONTROL)
        one.send(CONTROL, b"share")
        await two_ear.until("message", CONTROL, b"share")
        one.close()
        two.close()
        answered = asyncio.Event()
        mine.on("message", lambda _: answered.set())
        assert [channel.label for channel in theirs] == ["mine"]
        theirs[0].send("hello")
        await answered.wait()
        assert one_pc.connectionState == two_pc.connectionState == "connected"


async def test_a_listener_that_raises_does_not_end_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    async with two_pcs() as (one_pc, two_pc):
        one_ear, two_ear = Ear(), Ear()
        one, two = Channels(one_pc, one_ear), Channels(two_pc, two_ear)
        one.open(CONTROL)
        two.open(CONTROL)
        await connect(one_pc, two_pc)
        await one_ear.until("opened", CONTROL)
        await two_ear.until("opened", CONTROL)
        two_ear.raises = error = RuntimeError("a bug")
        one.send(CONTROL, b"1")
        await two_ear.until("failed", error)
        one.send(CONTROL, b"2")
        await two_ear.until("message", CONTROL, b"2")
        assert two_pc.connectionState == "connected"
    assert "the connection goes on" in caplog.text


async def test_text_is_told_as_text() -> None:
    async with two_pcs() as (one_pc, two_pc):
        ear = Ear()
        channel = one_pc.createDataChannel("raw", negotiated=True, id=CONTROL)
        Channels(two_pc, ear).open(CONTROL)
        await connect(one_pc, two_pc)
        await ear.until("opened", CONTROL)
        if channel.readyState != "open":
            opened = asyncio.Event()
            channel.on("open", opened.set)
            await opened.wait()
        channel.send("hello")
        await ear.until("text", CONTROL)


async def test_a_closed_connection_is_told_and_takes_no_channel() -> None:
    async with two_pcs() as (one_pc, two_pc):
        ear = Ear()
        channels = Channels(one_pc, ear)
        channels.open(CONTROL)
        Channels(two_pc, Ear()).open(CONTROL)
        await connect(one_pc, two_pc)
        await ear.until("opened", CONTROL)
        await one_pc.close()
        await ear.until("closed", CONTROL)
        with pytest.raises(SharingNotAvailable, match="closed"):
            channels.open(STREAM)
        with pytest.raises(SharingNotAvailable, match="closed"):
            Channels(one_pc, ear)
        channels.close()


async def test_a_connection_without_a_data_section_is_refused_untouched() -> None:
    async with two_pcs() as (one_pc, two_pc):
        one_pc.addTransceiver("audio")
        await connect(one_pc, two_pc)
        await _is_connected(one_pc)
        for pc in (one_pc, two_pc):
            with pytest.raises(SharingNotAvailable, match="renegotiate"):
                Channels(pc, Ear())
            assert pc.sctp is None
        assert one_pc.connectionState == "connected"


async def _is_connected(pc: RTCPeerConnection) -> None:
    connected = asyncio.Event()

    def check() -> None:
        if pc.connectionState == "connected":
            connected.set()

    pc.on("connectionstatechange", check)
    check()
    await connected.wait()


async def test_letting_go_removes_every_trace_from_the_connection() -> None:
    pc = new_pc()
    channels = Channels(pc, Ear())
    channels.open(CONTROL)
    channels.close()
    channels.close()
    assert not pc.listeners("connectionstatechange")
    await pc.close()


async def test_a_control_channel_that_the_peer_does_not_take_is_clogged() -> None:
    async with two_pcs() as (ours, theirs):
        ear = Ear()
        channels = Channels(ours, ear)
        assert not channels.is_clogged
        channels.open(CONTROL)
        Channels(theirs, Ear()).open(CONTROL)
        await connect(ours, theirs)
        await ear.until("opened", CONTROL)
        assert not channels.is_clogged
        while not channels.is_clogged:  # without a turn of the loop nothing leaves
            channels.send(CONTROL, bytes(60_000))
        channels.close()
