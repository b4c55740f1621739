"""Stream reset (RFC 6525), as data channels close (RFC 8831 section 6.7).

Ours: a stream is reset once all of its messages have left and are acknowledged; what is sent on it in between
waits for its next life. The peer's: done once everything it sent before is here; until then "in progress".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from p2pshare.rtc.sctp.packet import WRAP, Kind, Malformed, decode_parameters, encode_chunk, encode_parameter
from p2pshare.rtc.sctp.state import RepeatTimer

_STREAMS_PER_REQUEST = 128
_STREAMS_AT_MOST = 8_192


class Request:
    """Parameter types (RFC 6525 section 4)."""

    RESET_OUTGOING = 13
    RESET_INCOMING = 14
    RESET_TSN = 15
    RESPONSE = 16
    ADD_OUTGOING = 17
    ADD_INCOMING = 18


class Result:
    """What a response says (RFC 6525 section 4.4)."""

    NOTHING_TO_DO = 0
    PERFORMED = 1
    DENIED = 2
    WRONG_NUMBER = 5
    IN_PROGRESS = 6


@dataclass(frozen=True, slots=True)
class OutgoingReset:
    """The peer begins streams of its own anew (RFC 6525 section 4.1)."""

    number: int
    response_number: int
    last_tsn: int
    stream_ids: tuple[int, ...]
    "None: all."

    def encode(self) -> bytes:
        """The parameter."""
        body = struct.pack("!III", self.number, self.response_number, self.last_tsn)
        return encode_parameter(
            Request.RESET_OUTGOING, body + struct.pack(f"!{len(self.stream_ids)}H", *self.stream_ids)
        )

    @classmethod
    def decode(cls, body: bytes) -> OutgoingReset:
        """Raises Malformed for a length that does not fit."""
        if len(body) < 12 or len(body) % 2 or len(body) > 12 + 2 * _STREAMS_AT_MOST:
            raise Malformed("outgoing stream reset")
        number, response_number, last_tsn = struct.unpack_from("!III", body)
        stream_ids = struct.unpack_from(f"!{(len(body) - 12) // 2}H", body, 12)
        return cls(number, response_number, last_tsn, stream_ids)


def encode_response(number: int, result: int) -> bytes:
    """A RE-CONFIG chunk with one response."""
    return encode_chunk(Kind.RECONFIG, encode_parameter(Request.RESPONSE, struct.pack("!II", number, result)))


def decode_request(body: bytes) -> list[tuple[int, bytes]]:
    """The parameters of a RE-CONFIG chunk: one or two (RFC 6525 section 3.1). Raises Malformed."""
    parameters = decode_parameters(body)
    if not 1 <= len(parameters) <= 2 or any(len(value) < 4 for _, value in parameters):
        raise Malformed("RE-CONFIG")
    return parameters


class IncomingResets:
    """Requests of the peer."""

    def __init__(self, initial_number: int) -> None:
        self.next_number = initial_number
        self._last_result: int | None = None
        self.deferred: OutgoingReset | None = None
        "Waits for data that was sent before it."

    def admit(self, number: int) -> int | None:
        """None: a new request, to be answered by `answered`. Else the result to give an old or wrong one."""
        if number == self.next_number:
            self.deferred = None
            self.next_number = (number + 1) & WRAP
            self._last_result = None
            return None
        if number == (self.next_number - 1) & WRAP and self._last_result is not None:
            return self._last_result
        return Result.WRONG_NUMBER

    def answered(self, result: int) -> int:
        """Note the result of the newest request, to be repeated if the request is."""
        self._last_result = result
        return result


class OutgoingResets:
    """Our own requests: one at a time."""

    def __init__(self, first_number: int, max_delay_s: float) -> None:
        self.next_number = first_number
        self.waiting: dict[int, None] = {}
        "Streams to be reset, in order."
        self.request: OutgoingReset | None = None
        self.timer = RepeatTimer(max_delay_s)

    def begin(self, stream_ids: list[int], response_number: int, last_tsn: int) -> OutgoingReset:
        """Make the request for streams that are ready."""
        chosen = stream_ids[:_STREAMS_PER_REQUEST]
        for stream_id in chosen:
            del self.waiting[stream_id]
        self.request = OutgoingReset(self.next_number, response_number, last_tsn, tuple(chosen))
        self.next_number = (self.next_number + 1) & WRAP
        return self.request

    def finish(self, number: int) -> OutgoingReset | None:
        """The request with this number is answered for good."""
        request = self.request
        if request is None or request.number != number:
            return None
        self.request = None
        self.timer.stop()
        return request
