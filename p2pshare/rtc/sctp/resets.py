"""Stream resets in both directions: when they may happen, and what they do to the two halves (RFC 6525)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable

from p2pshare.rtc.sctp.control import ControlQueue
from p2pshare.rtc.sctp.events import AssociationEvent, StreamResetDenied, StreamsReset
from p2pshare.rtc.sctp.packet import WRAP, Kind, encode_chunk, extended
from p2pshare.rtc.sctp.reconfig import (
    IncomingResets,
    OutgoingReset,
    OutgoingResets,
    Request,
    Result,
    decode_request,
    encode_response,
)
from p2pshare.rtc.sctp.rx.receiver import Receiver
from p2pshare.rtc.sctp.tx.sender import Sender


class StreamResets:
    """Resets of the streams of an established association."""

    def __init__(
        self,
        sender: Sender,
        receiver: Receiver,
        control: ControlQueue,
        emit: Callable[[AssociationEvent], None],
        incoming: IncomingResets,
        outgoing: OutgoingResets,
    ) -> None:
        self._sender = sender
        self._receiver = receiver
        self._control = control
        self._emit = emit
        self.incoming = incoming
        self.outgoing = outgoing

    # Ours

    def ask(self, stream_ids: Iterable[int]) -> None:
        """Reset these streams once all that was sent on them has arrived."""
        for stream_id in stream_ids:
            stream = self._sender.queue.stream(stream_id)
            if not stream.resetting:
                stream.resetting = True
                self.outgoing.waiting[stream_id] = None

    def advance(self, now: float) -> None:
        """Do what has become possible."""
        if self.incoming.deferred is not None:
            self._perform_deferred()
        outgoing = self.outgoing
        if outgoing.waiting and outgoing.request is None:
            cumulative = self._sender.outstanding.cumulative
            ready = []
            for stream_id in outgoing.waiting:
                stream = self._sender.queue.stream(stream_id)
                if not stream.queue and stream.last_tsn <= cumulative:
                    ready.append(stream_id)
            if ready:
                # Not the last TSN assigned (RFC 6525 section 4.1) but the last one acknowledged: all of these
                # streams' data is among them, and the peer need not wait for what other streams have in
                # flight.
                outgoing.begin(ready, (self.incoming.next_number - 1) & WRAP, cumulative & WRAP)
                outgoing.timer.start(now, self._sender.rtt.timeout_s)
                self._send_request()

    def _send_request(self) -> None:
        request = self.outgoing.request
        if request is not None:
            self._control.send(encode_chunk(Kind.RECONFIG, request.encode()))

    def on_timer(self, now: float) -> None:
        """Repeat a request that is not answered for good (RFC 6525 section 5.1.1)."""
        if self.outgoing.timer.has_expired(now):
            self._send_request()

    def _on_response(self, number: int, result: int) -> None:
        if result == Result.IN_PROGRESS:
            return  # asked again when the timer runs out (RFC 6525 section 5.2.7 H2)
        request = self.outgoing.finish(number)
        if request is None:
            return
        queue = self._sender.queue
        is_done = result in (Result.PERFORMED, Result.NOTHING_TO_DO)
        for stream_id in request.stream_ids:
            stream = queue.stream(stream_id)
            if is_done:
                stream.begin_anew()
                self._sender.abandonment.stream_reset(stream_id)
            queue.release(stream)
        if is_done:
            self._emit(StreamsReset(request.stream_ids, incoming=False))
        else:
            self._emit(StreamResetDenied(request.stream_ids, result))

    # The peer's

    def on_reconfig(self, body: bytes, now: float) -> None:
        """Take a RE-CONFIG chunk. Raises Malformed."""
        for kind, value in decode_request(body):
            (number,) = struct.unpack_from("!I", value)
            if kind == Request.RESPONSE:
                if len(value) >= 8:
                    self._on_response(number, struct.unpack_from("!I", value, 4)[0])
            elif kind == Request.RESET_OUTGOING:
                self._on_reset(OutgoingReset.decode(value))
            elif kind == Request.ADD_OUTGOING:
                # All ids are accepted from the start.
                self._answer(number, lambda: Result.PERFORMED)
            elif kind in (Request.RESET_INCOMING, Request.RESET_TSN, Request.ADD_INCOMING):
                self._answer(number, lambda: Result.DENIED)
        self.advance(now)

    def _answer(self, number: int, decide: Callable[[], int]) -> None:
        result = self.incoming.admit(number)
        if result is None:
            result = self.incoming.answered(decide())
        self._control.send(encode_response(number, result))

    def _on_reset(self, request: OutgoingReset) -> None:
        def decide() -> int:
            if extended(request.last_tsn, self._receiver.cumulative) > self._receiver.cumulative:
                self.incoming.deferred = request
                return Result.IN_PROGRESS
            self._perform(request)
            return Result.PERFORMED

        self._answer(request.number, decide)

    def _perform_deferred(self) -> None:
        request = self.incoming.deferred
        if request is None:
            return
        cumulative = self._receiver.cumulative
        if extended(request.last_tsn, cumulative) <= cumulative:
            self.incoming.deferred = None
            self._perform(request)
            self._control.send(encode_response(request.number, self.incoming.answered(Result.PERFORMED)))

    def _perform(self, request: OutgoingReset) -> None:
        self._receiver.reset_streams(request.stream_ids)
        self._emit(StreamsReset(request.stream_ids, incoming=True))
