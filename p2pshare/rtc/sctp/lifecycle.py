"""From CLOSED to ESTABLISHED and out again: handshake, shutdown, abort (RFC 9260 sections 5 and 9).

Takes the chunks that change the state, queues their answers, and tells its owner what has become of the
association.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from p2pshare.rtc.sctp.config import AssociationConfig
from p2pshare.rtc.sctp.control import ControlQueue
from p2pshare.rtc.sctp.events import AssociationEvent, Closed, CloseReason
from p2pshare.rtc.sctp.handshake import Echo, Handshake, Peer
from p2pshare.rtc.sctp.packet import (
    WRAP,
    Cause,
    Flag,
    Init,
    Kind,
    Malformed,
    decode_parameters,
    encode_chunk,
    encode_parameter,
)
from p2pshare.rtc.sctp.state import RepeatTimer, State
from p2pshare.rtc.sctp.stats import Counters, Drop
from p2pshare.rtc.sctp.tx.rto import RoundTripTime

_SETTING_UP = (State.CLOSED, State.COOKIE_WAIT, State.COOKIE_ECHOED)
_SHUTDOWN_TRIES = 8
_REASON_AT_MOST = 256


class Lifecycle:
    """The state, and everything that changes it."""

    def __init__(
        self,
        config: AssociationConfig,
        handshake: Handshake,
        control: ControlQueue,
        rtt: RoundTripTime,
        counters: Counters,
        emit: Callable[[AssociationEvent], None],
        on_established: Callable[[Peer, bool, float], None],
    ) -> None:
        self._config = config
        self.handshake = handshake
        self._control = control
        self._rtt = rtt
        self._counters = counters
        self._emit = emit
        self._on_established = on_established
        self.state = State.CLOSED
        self.peer: Peer | None = None
        self._cookie = b""
        self.timer = RepeatTimer(config.rto_max_s)
        self._deadline: float | None = None
        self._sent_at = 0.0
        self._stale_cookies = 0

    @property
    def is_up(self) -> bool:
        """Data may come and go."""
        return self.state is State.ESTABLISHED or self.state is State.SHUTDOWN_PENDING

    @property
    def may_transmit(self) -> bool:
        """Data that is queued may go (RFC 9260 section 9.2: until both have said SHUTDOWN)."""
        state = self.state
        return (
            state is State.ESTABLISHED or state is State.SHUTDOWN_PENDING or state is State.SHUTDOWN_RECEIVED
        )

    @property
    def may_receive(self) -> bool:
        """Data may come (RFC 9260 section 9.2: until the peer has said SHUTDOWN)."""
        return self.is_up or self.state is State.SHUTDOWN_SENT

    # Handshake

    def take_over(self, peer: Peer, tag: int) -> None:
        """Another stack has made the handshake."""
        self.handshake.tag = tag
        self.peer = peer
        self.state = State.ESTABLISHED

    def connect(self, now: float) -> None:
        """Send INIT, unless the peer's was faster or it is too late."""
        if self.state is not State.CLOSED:
            return
        self.state = State.COOKIE_WAIT
        self._deadline = now + self._config.handshake_timeout_s
        self._start(now)

    def _start(self, now: float) -> None:
        self._sent_at = now
        self.timer.start(now, self._config.rto_initial_s)
        self._send_again()

    def _send_again(self) -> None:
        if self.state is State.COOKIE_WAIT:
            self._control.send_alone(0, encode_chunk(Kind.INIT, self.handshake.init().encode()))
        elif self.state is State.COOKIE_ECHOED and self.peer is not None:
            self._control.send_alone(self.peer.tag, encode_chunk(Kind.COOKIE_ECHO, self._cookie))

    def on_init(self, init: Init, now: float) -> None:
        """Answer; nothing of it is kept."""
        if self.state in (State.GONE, State.SHUTDOWN_ACK_SENT):
            self._counters.dropped[Drop.STATE] += 1
            return
        current = None if self.state in _SETTING_UP else self.peer
        answer = self.handshake.answer(init, now, current)
        self._control.send_alone(init.tag, encode_chunk(Kind.INIT_ACK, answer.encode()))

    def on_init_ack(self, init: Init, now: float) -> None:
        """Echo the cookie."""
        if self.state is not State.COOKIE_WAIT or not init.cookie:
            self._counters.dropped[Drop.STATE] += 1
            return
        self.peer = Peer.of_init(init)
        self._cookie = init.cookie
        if not self.timer.repeats:
            self._rtt.sample(now - self._sent_at, now)
        self.state = State.COOKIE_ECHOED
        self._start(now)

    def on_cookie_echo(self, sealed: bytes, packet_tag: int, now: float) -> bool:
        """Take a cookie back. Returns False if what follows in the packet is to be dropped with it."""
        echo, cookie = self.handshake.judge(sealed, packet_tag, now, self.peer)
        if echo is Echo.KNOWN and self.state not in (State.CLOSED, State.COOKIE_WAIT, State.GONE):
            if self.state is State.COOKIE_ECHOED:
                self._establish(False, now)
            self._control.send(encode_chunk(Kind.COOKIE_ACK))
            return True
        if echo is Echo.STALE and cookie is not None:
            cause = encode_parameter(Cause.STALE_COOKIE, struct.pack("!I", 1_000_000))
            self._control.send_alone(cookie.peer_tag, encode_chunk(Kind.ERROR, cause))
        elif echo is Echo.ESTABLISHES and cookie is not None and self.state in _SETTING_UP:
            self.peer = Peer.of_cookie(cookie)
            self._establish(False, now)
            self._control.send(encode_chunk(Kind.COOKIE_ACK))
            return True
        elif echo is Echo.RESTARTS and cookie is not None and self.is_up:
            self.handshake.adopt(cookie)
            self.peer = Peer.of_cookie(cookie)
            self._control.clear()
            self._establish(True, now)
            self._control.send(encode_chunk(Kind.COOKIE_ACK))
            return True
        self._counters.dropped[Drop.COOKIE] += 1
        return False

    def on_cookie_ack(self, now: float) -> None:
        """The peer is up."""
        if self.state is State.COOKIE_ECHOED:
            self._establish(False, now)

    def _establish(self, is_restart: bool, now: float) -> None:
        assert self.peer is not None
        self.timer.stop()
        self._deadline = None
        self.state = State.ESTABLISHED
        self._on_established(self.peer, is_restart, now)

    def on_error(self, body: bytes, now: float) -> None:
        """A stale cookie means another INIT (RFC 9260 section 5.2.6); other errors change nothing."""
        causes = [kind for kind, _ in decode_parameters(body)]
        if self.state is State.COOKIE_ECHOED and Cause.STALE_COOKIE in causes and self._stale_cookies < 3:
            self._stale_cookies += 1
            self.state = State.COOKIE_WAIT
            self._start(now)

    # The end

    def shutdown(self) -> None:
        """Close once everything has arrived; nothing more may be sent."""
        if self.state is State.ESTABLISHED:
            self.state = State.SHUTDOWN_PENDING
        elif self.state in _SETTING_UP:
            self.close(CloseReason.SHUTDOWN)

    def advance(self, is_drained: bool, cumulative: int, now: float) -> None:
        """Go on with a shutdown when all data has arrived (RFC 9260 section 9.2)."""
        if not is_drained:
            return
        if self.state is State.SHUTDOWN_PENDING:
            self.state = State.SHUTDOWN_SENT
            self._control.send(encode_chunk(Kind.SHUTDOWN, struct.pack("!I", cumulative & WRAP)))
            self.timer.start(now, self._rtt.timeout_s)
        elif self.state is State.SHUTDOWN_RECEIVED:
            self.state = State.SHUTDOWN_ACK_SENT
            self._control.send(encode_chunk(Kind.SHUTDOWN_ACK))
            self.timer.start(now, self._rtt.timeout_s)

    def on_shutdown(self, now: float) -> None:
        """The peer sends no more."""
        if self.is_up:
            self.state = State.SHUTDOWN_RECEIVED
        elif self.state is State.SHUTDOWN_SENT:  # both at once
            self.state = State.SHUTDOWN_ACK_SENT
            self._control.send(encode_chunk(Kind.SHUTDOWN_ACK))
            self.timer.start(now, self._rtt.timeout_s)

    def on_shutdown_ack(self, packet_tag: int) -> None:
        """The peer has everything."""
        if self.state in (State.SHUTDOWN_SENT, State.SHUTDOWN_ACK_SENT):
            self._control.send(encode_chunk(Kind.SHUTDOWN_COMPLETE))
            self.close(CloseReason.SHUTDOWN)
        elif (
            self.state in _SETTING_UP
        ):  # its COMPLETE was lost, and we have forgotten (RFC 9260 section 8.5.1)
            self._control.send_alone(
                packet_tag, encode_chunk(Kind.SHUTDOWN_COMPLETE, flags=Flag.TAG_REFLECTED)
            )

    def on_shutdown_complete(self) -> None:
        """Both sides have finished."""
        if self.state is State.SHUTDOWN_ACK_SENT:
            self.close(CloseReason.SHUTDOWN)

    def on_abort(self, body: bytes) -> None:
        """The peer is gone."""
        detail = ""
        try:
            for kind, value in decode_parameters(body):
                detail = f"cause {kind}"
                if kind in (Cause.USER_ABORT, Cause.PROTOCOL_VIOLATION) and value:
                    detail = value[:_REASON_AT_MOST].decode(errors="replace")
        except Malformed:
            detail = "no reason that can be read"
        self.close(CloseReason.ABORTED_BY_PEER, detail)

    def abort(self, reason: str) -> None:
        """Close at once and say so."""
        if self.peer is not None and self.state is not State.GONE:
            cause = encode_parameter(Cause.USER_ABORT, reason.encode()[:_REASON_AT_MOST])
            self._control.clear()
            self._control.send_alone(self.peer.tag, encode_chunk(Kind.ABORT, cause))
        self.close(CloseReason.ABORTED, reason)

    def close(self, reason: CloseReason, detail: str = "") -> None:
        """The association is over."""
        if self.state is State.GONE:
            return
        self.state = State.GONE
        self.timer.stop()
        self._deadline = None
        self._emit(Closed(reason, detail))

    # Time

    def next_timer(self) -> float | None:
        """When `on_timer` has something to do."""
        if self.timer.due is None or self._deadline is None:
            return self.timer.due
        return min(self.timer.due, self._deadline)

    def on_timer(self, cumulative: int, now: float) -> None:
        """Repeat what was not answered."""
        if self._deadline is not None and now >= self._deadline:
            self.close(CloseReason.HANDSHAKE_FAILED)
            return
        if not self.timer.has_expired(now):
            return
        if self.state in (State.COOKIE_WAIT, State.COOKIE_ECHOED):
            self._send_again()
        elif self.timer.repeats > _SHUTDOWN_TRIES:
            self.close(CloseReason.PEER_SILENT)
        elif self.state is State.SHUTDOWN_SENT:
            self._control.send(encode_chunk(Kind.SHUTDOWN, struct.pack("!I", cumulative & WRAP)))
        elif self.state is State.SHUTDOWN_ACK_SENT:
            self._control.send(encode_chunk(Kind.SHUTDOWN_ACK))
