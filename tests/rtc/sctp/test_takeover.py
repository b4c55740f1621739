"""Going on from another stack's state, in mid-transfer: from aiortc's, as its fields are, and our own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from random import Random
from typing import Any, cast

import pytest
from aiortc import RTCDataChannel, RTCSctpTransport
from aiortc.rtcdatachannel import RTCDataChannelParameters
from aiortc.rtcsctptransport import RTCSctpCapabilities

from p2pshare.rtc.sctp import (
    Association,
    AssociationConfig,
    HeldChunk,
    MessageReceived,
    OutgoingReset,
    QueuedMessage,
    SentChunk,
    Snapshot,
)
from tests.rtc.sctp.link import Conditions, Pair, give, packets_of
from tests.rtc.sctp.stock import FakeDtls


def snapshot_of(stock: RTCSctpTransport) -> Snapshot:
    """What `RTCSctpTransport` of aiortc 1.16 knows."""
    state = cast("Any", stock)
    chunks = [(chunk, True) for chunk in state._sent_queue] + [
        (chunk, False) for chunk in state._outbound_queue
    ]
    held = [
        HeldChunk(c.tsn, c.stream_id, c.stream_seq, c.protocol, c.flags, c.user_data)
        for stream in state._inbound_streams.values()
        for c in stream.reassembly
    ]
    request = state._reconfig_request
    deferred = state._reconfig_deferred
    return Snapshot(
        local_tag=state._local_verification_tag,
        peer_tag=state._remote_verification_tag,
        next_tsn=state._local_tsn,
        acked_tsn=state._last_sacked_tsn,
        received_tsn=state._last_received_tsn,
        peer_window=state._ssthresh,
        reset_number=state._reconfig_request_seq,
        peer_reset_number=state._reconfig_response_seq,
        peer_extensions=frozenset(state._remote_extensions),
        peer_forward_tsn=state._remote_partial_reliability,
        outstanding=tuple(
            SentChunk(
                c.tsn,
                c.stream_id,
                c.stream_seq,
                c.protocol,
                c.flags,
                c.user_data,
                in_flight=is_sent and not c._retransmit,
                acked=c._acked,
                abandoned=c._abandoned,
            )
            for c, is_sent in chunks
        ),
        queued=tuple(
            QueuedMessage(channel.id, ppid, payload, ordered=channel.ordered)
            for channel, ppid, payload in state._data_channel_queue
        ),
        outbound_sequences=dict(state._outbound_stream_seq),
        inbound_sequences={i: stream.sequence_number for i, stream in state._inbound_streams.items()},
        received_ahead=tuple(state._sack_misordered),
        held=tuple(held),
        pending_reset=None
        if request is None
        else OutgoingReset(
            request.request_sequence, request.response_sequence, request.last_tsn, tuple(request.streams)
        ),
        waiting_resets=tuple(state._reconfig_queue),
        deferred_reset=None
        if deferred is None
        else OutgoingReset(
            deferred.request_sequence, deferred.response_sequence, deferred.last_tsn, tuple(deferred.streams)
        ),
    )


class Wire:
    """Two stock transports; the left one is replaced by ours at some moment."""

    def __init__(self, loss: float, seed: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._random = Random(seed)
        self._loss = loss
        self._queues: tuple[asyncio.Queue[bytes], asyncio.Queue[bytes]] = (asyncio.Queue(), asyncio.Queue())
        self._dtls = (FakeDtls("client", self._sends(1)), FakeDtls("server", self._sends(0)))
        self.left = RTCSctpTransport(cast("Any", self._dtls[0]))
        self.right = RTCSctpTransport(cast("Any", self._dtls[1]))
        self.ours: Association | None = None
        self.received: list[tuple[int, bytes]] = []
        self.events: list[Any] = []
        self.changed = asyncio.Event()

    def _sends(self, to: int) -> Callable[[bytes], None]:
        def send(packet: bytes) -> None:
            if self._random.random() >= self._loss:
                self._queues[to].put_nowait(packet)

        return send

    def channel(self, transport: RTCSctpTransport, number: int) -> RTCDataChannel:
        return RTCDataChannel(transport, RTCDataChannelParameters(negotiated=True, id=number))

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self.changed.clear()
            await self.changed.wait()

    def take_over(self) -> None:
        config = AssociationConfig(receive_window=1 << 20)
        self.ours = Association.take_over(
            snapshot_of(self.left), config, is_client=True, random=os.urandom, now=self._loop.time()
        )
        cast("Any", self.left)._set_state(RTCSctpTransport.State.CLOSED)
        self._queues[0].put_nowait(b"")

    def _drain(self, ours: Association) -> None:
        while (train := ours.write(self._loop.time())) is not None:
            for packet in packets_of(ours, train):
                self._sends(1)(packet)
        for event in ours.take_events():
            if isinstance(event, MessageReceived):
                self.received.append((event.stream_id, event.payload))
            self.events.append(event)
        self.changed.set()

    async def run(self, side: int) -> None:
        while True:
            due = None if side or self.ours is None else self.ours.next_timer()
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due - self._loop.time())):
                    packet = await self._queues[side].get()
            except TimeoutError:
                assert self.ours is not None
                self.ours.handle_timer(self._loop.time())
                self._drain(self.ours)
                continue
            if side == 0 and self.ours is not None:
                if packet:
                    give(self.ours, packet, self._loop.time())
                self.ours.end_of_batch(self._loop.time())
                self._drain(self.ours)
            elif packet and self._dtls[side].receiver is not None:
                await self._dtls[side].receiver._handle_data(packet)
            self.changed.set()
            await asyncio.sleep(0)


@pytest.mark.parametrize("loss", [0.0, 0.05])
@pytest.mark.parametrize("moment", [1, 40, 300])
async def test_a_transfer_goes_on_where_the_stock_transport_was(loss: float, moment: int) -> None:
    wire = Wire(loss, seed=moment)
    async with asyncio.TaskGroup() as tasks:
        runners = [tasks.create_task(wire.run(side)) for side in (0, 1)]
        mine, theirs = wire.channel(wire.left, 1), wire.channel(wire.right, 1)
        closing, closing_there = wire.channel(wire.left, 2), wire.channel(wire.right, 2)
        at_right: list[object] = []
        theirs.on("message", at_right.append)
        mine.on("message", lambda message: wire.received.append((1, message)))
        await asyncio.gather(
            *(t.start(RTCSctpCapabilities(maxMessageSize=262_144), 5000) for t in (wire.left, wire.right))
        )
        await wire.until(lambda: mine.readyState == theirs.readyState == "open")
        sent = [bytes([i]) * (3_000 * (i + 1)) for i in range(40)]
        for payload in sent:
            mine.send(payload)
            theirs.send(payload)
        closing.close()
        for _ in range(moment):
            await asyncio.sleep(0)
        wire.take_over()
        assert wire.ours is not None
        wire.ours.send(1, 53, b"ours", now=asyncio.get_running_loop().time())
        wire._queues[0].put_nowait(b"")
        theirs.send(b"theirs")
        await wire.until(lambda: len(at_right) == 41 and len(wire.received) == 41)
        await wire.until(lambda: closing_there.readyState == "closed")
        await wire.right.stop()
        for runner in runners:
            runner.cancel()
    assert at_right == [*sent, b"ours"]
    assert [payload for _, payload in wire.received] == [*sent, b"theirs"]
    assert closing_there.readyState == "closed"


def test_a_snapshot_of_our_own_state_is_gone_on_from_as_well() -> None:
    """Every field at once, from the state of an association of ours: what is lost, ahead, held and queued."""
    plain = AssociationConfig(interleaving=False)
    pair = Pair(plain, plain, conditions=Conditions(loss=0.1, delay_s=0.01), seed=9).connect()
    sent = [bytes([i]) * 9_000 for i in range(30)]
    for payload in sent:
        pair.send(pair.left, 1, payload)
    pair.run(0.05)
    left = pair.left.association
    sender, receiver = left._sender, left._receiver
    assert sender is not None
    assert receiver is not None
    outstanding = sender.outstanding
    chunks = []
    for tsn in range(outstanding.cumulative + 1, outstanding.next_tsn):
        run = outstanding.run_of(tsn)
        start, size, flags = run.fragment(tsn)
        message = run.message
        chunks.append(
            SentChunk(
                tsn & 0xFFFFFFFF,
                1,
                message.sequence,
                53,
                flags,
                message.payload[start : start + size],
                in_flight=tsn not in outstanding.lost,
                acked=tsn in outstanding.sacked,
            )
        )
    assert any(not c.in_flight or c.acked for c in chunks)
    stream = sender.queue.stream(1)
    rest = [QueuedMessage(1, 53, m.payload) for m in stream.queue if not m.sent]
    begun = [m for m in stream.queue if m.sent]
    assert len(begun) <= 1
    tail = tuple(
        SentChunk(
            (outstanding.next_tsn + i) & 0xFFFFFFFF,
            1,
            m.sequence,
            53,
            1 if at + 1_000 >= m.size else 0,
            m.payload[at : at + 1_000],
            in_flight=False,
        )
        for m in begun
        for i, at in enumerate(range(m.sent, m.size, 1_000))
    )
    peer = left._lifecycle.peer
    assert peer is not None
    snapshot = Snapshot(
        local_tag=left._lifecycle.handshake.tag,
        peer_tag=peer.tag,
        next_tsn=(outstanding.next_tsn + len(tail)) & 0xFFFFFFFF,
        acked_tsn=outstanding.cumulative & 0xFFFFFFFF,
        received_tsn=receiver.cumulative & 0xFFFFFFFF,
        peer_window=sender.peer_window,
        reset_number=1,
        peer_reset_number=1,
        outstanding=(*chunks, *tail),
        queued=tuple(rest),
        outbound_sequences={1: stream.next_sequence},
        rtt_s=0.02,
    )
    pair.left.association = Association.take_over(
        snapshot, plain, is_client=True, random=pair.random.randbytes, now=pair.now
    )
    pair.send(pair.left, 1, b"end")
    pair.settle(60)
    assert [p for _, _, p in pair.right.messages] == [*sent, b"end"]
