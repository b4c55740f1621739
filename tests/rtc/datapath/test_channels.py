"""Data channels as programs know them: opening, buffering, closing, and listeners that fail."""

from __future__ import annotations

import asyncio

import pytest
from aiortc import InvalidStateError, RTCDataChannel

from tests.rtc.datapath.peers import (
    PEERS,
    Inbox,
    Incoming,
    LossyTransport,
    Make,
    apart,
    closed,
    connected,
    lose,
    negotiate,
    opened,
    ours,
    send_all,
    stock,
    transport_of,
)


@PEERS
async def test_a_channel_keeps_what_it_was_made_with(make_left: Make, make_right: Make) -> None:
    # Stock counts a label's characters where its bytes are meant: what is not ASCII arrives from ours alone.
    label, protocol = ("one", "words") if make_left is stock else ("résumé", "wörter")
    options = {"ordered": False, "maxRetransmits": 3, "protocol": protocol}
    async with connected(make_left, make_right, label, **options) as (_, _, (here,), incoming):
        there = incoming.channels[label]
        assert (there.label, there.protocol, there.ordered) == (label, protocol, False)
        assert (there.maxRetransmits, there.maxPacketLifeTime) == (3, None)
        assert there.id == here.id


async def test_both_sides_open_channels_at_once_and_the_ids_do_not_meet() -> None:
    async with apart() as (left, right):
        at_left, at_right = Incoming(left), Incoming(right)
        from_left = [left.createDataChannel(f"l{i}") for i in range(5)]
        from_right = [right.createDataChannel(f"r{i}") for i in range(5)]
        await negotiate(left, right)
        for channel in (*from_left, *from_right):
            await opened(channel)
        for i in range(5):
            await at_left.channel(f"r{i}")
            await at_right.channel(f"l{i}")
        assert len({channel.id for channel in (*from_left, *from_right)}) == 10


@PEERS
async def test_negotiated_channels_open_without_a_word(make_left: Make, make_right: Make) -> None:
    async with apart(make_left, make_right) as (left, right):
        seen: list[RTCDataChannel] = []
        left.on("datachannel", seen.append)
        right.on("datachannel", seen.append)
        here = left.createDataChannel("ours", negotiated=True, id=240)
        there = right.createDataChannel("ours", negotiated=True, id=240)
        await negotiate(left, right)
        await opened(here)
        await opened(there)
        inbox = Inbox(there)
        here.send(b"hello")
        assert await inbox.has(1) == [b"hello"]
        late = left.createDataChannel("late", negotiated=True, id=242)
        assert late.readyState == "open"
        with pytest.raises(ValueError, match="242"):
            left.createDataChannel("twice", negotiated=True, id=242)
        assert seen == []


@PEERS
async def test_what_is_buffered_falls_to_nothing_and_says_so(make_left: Make, make_right: Make) -> None:
    async with connected(make_left, make_right) as (_, _, (channel,), incoming):
        low: list[int] = []
        empty = asyncio.Event()
        channel.bufferedAmountLowThreshold = 0

        def became_low() -> None:
            low.append(channel.bufferedAmount)
            empty.set()

        channel.on("bufferedamountlow", became_low)
        for _ in range(8):
            channel.send(bytes(65_536))
        assert channel.bufferedAmount == 8 * 65_536
        await asyncio.wait_for(empty.wait(), 20)
        assert low == [0]
        assert channel.bufferedAmount == 0
        await incoming.inboxes["one"].has(8)


async def test_a_listener_that_sends_when_the_buffer_is_low_keeps_the_order() -> None:
    async with connected() as (_, _, (channel,), incoming):
        left_to_send = iter(range(200))

        def refill() -> None:
            for number in left_to_send:
                channel.send(number.to_bytes(4, "big") * 4_000)
                if channel.bufferedAmount > 60_000:
                    return

        channel.bufferedAmountLowThreshold = 20_000
        channel.on("bufferedamountlow", refill)
        refill()
        received = await incoming.inboxes["one"].has(200)
        assert [
            int.from_bytes(bytes(message[:4]), "big") for message in received if isinstance(message, bytes)
        ] == [*range(200)]


async def test_a_message_larger_than_the_peer_takes_is_refused() -> None:
    async with connected() as (_, _, (channel,), incoming):
        with pytest.raises(ValueError, match="262145 bytes"):
            channel.send(bytes(262_145))
        with pytest.raises(ValueError, match="262146 bytes"):
            channel.send("é" * 131_073)
        assert channel.bufferedAmount == 0
        channel.send(bytes(262_144))
        assert await incoming.inboxes["one"].has(1) == [bytes(262_144)]


@PEERS
async def test_closing_a_channel_sends_what_it_has_queued_first(make_left: Make, make_right: Make) -> None:
    async with connected(make_left, make_right, "one", "two") as (left, _, (one, two), incoming):
        blocks = [bytes((i,)) * 50_000 for i in range(40)]
        for block in blocks:
            one.send(block)
        one.close()
        assert one.readyState == "closing"
        with pytest.raises(InvalidStateError):
            one.send(b"too late")
        await closed(incoming.channels["one"])
        await closed(one)
        assert incoming.inboxes["one"].messages == blocks
        assert two.readyState == "open"
        assert left.connectionState == "connected"


@PEERS
async def test_the_other_side_can_close_a_channel_and_its_id_is_used_again(
    make_left: Make, make_right: Make
) -> None:
    async with connected(make_left, make_right, "one", "two") as (left, _, (one, _), incoming):
        was = one.id
        incoming.channels["one"].close()
        await closed(one)
        await closed(incoming.channels["one"])
        again = left.createDataChannel("again")
        await opened(again)
        assert again.id == was
        again.send("through")
        await incoming.channel("again")
        assert await incoming.inboxes["again"].has(1) == ["through"]


async def test_many_channels_open_and_close_one_after_the_other() -> None:
    async with connected() as (left, _, _, incoming):
        for i in range(60):
            channel = left.createDataChannel(f"c{i}")
            await opened(channel)
            channel.send(str(i))
            channel.close()
            await closed(channel)
            await incoming.channel(f"c{i}")
            assert await incoming.inboxes[f"c{i}"].has(1) == [str(i)]
        assert len(transport_of(left)._channels) == 1


async def test_a_channel_that_never_opened_closes_at_once() -> None:
    pc = ours()
    channel = pc.createDataChannel("early")
    numbered = pc.createDataChannel("early", negotiated=True, id=7)
    channel.close()
    numbered.close()
    assert channel.readyState == numbered.readyState == "closed"
    pc.createDataChannel("early", negotiated=True, id=7)
    await pc.close()


async def test_a_listener_that_fails_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with connected() as (left, right, (channel,), incoming):
        there = incoming.channels["one"]
        received: list[object] = []

        def fail(message: object) -> None:
            received.append(message)
            raise RuntimeError("the program's own bug")

        there.on("message", fail)
        channel.on("bufferedamountlow", lambda: 1 // 0)
        for i in range(5):
            channel.send(str(i))
        await incoming.inboxes["one"].has(5)
        assert received == ["0", "1", "2", "3", "4"]
        right.on("datachannel", lambda _: 1 // 0)
        later = left.createDataChannel("later")
        later.on("open", lambda: 1 // 0)
        await incoming.channel("later")
        incoming.channels["later"].on("close", lambda: 1 // 0)
        await opened(later)
        later.close()
        await closed(later)
        assert left.connectionState == right.connectionState == "connected"
        assert "the program's own bug" in caplog.text
        channel.send("still here")
        await incoming.inboxes["one"].has(6)


@pytest.mark.parametrize("limit", [{"maxRetransmits": 0}, {"maxPacketLifeTime": 1}])
async def test_a_channel_of_limited_reliability_delivers_whole_messages_or_none(
    limit: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(monkeypatch, 0.0)
    async with connected(ours, ours, "lossy", ordered=False, **limit) as (left, _, (channel,), incoming):
        sure = left.createDataChannel("sure")
        await opened(sure)
        await incoming.channel("sure")
        monkeypatch.setattr(LossyTransport, "loss", 0.05)
        blocks = [i.to_bytes(4, "big") * 5_000 for i in range(100)]
        await send_all(channel, blocks, high_water=100_000)
        await send_all(sure, ["after"])
        await incoming.inboxes["sure"].has(1)
        received = incoming.inboxes["lossy"].messages
        assert len(received) < 100
        assert set(received) <= set(blocks)
        monkeypatch.setattr(LossyTransport, "loss", 0.0)
        channel.send(b"the end")
        while incoming.inboxes["lossy"].messages[-1:] != [b"the end"]:
            await incoming.inboxes["lossy"].has(len(incoming.inboxes["lossy"].messages) + 1)
        assert channel.bufferedAmount == 0
