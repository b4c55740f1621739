"""One link, sans-IO: what a control channel and its job streams carry, and what follows from it.

Bytes and the time come in as arguments; what to do, what happened and when to be woken come out.
**After every call into a core, carry out take_actions() in order, then handle take_events(), then re-arm
the timer at next_timer().** The shell has one method that does this.
See PROTOCOL.md; the state tables are in `states`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from p2pshare.errors import (
    ConnectionLost,
    LocalProtocolError,
    P2PShareError,
    ProtocolError,
    RemoteProtocolError,
    SharingNotAvailable,
    TransferError,
    show,
)
from p2pshare.model import ErrorCode, Limits
from p2pshare.protocol import events as e
from p2pshare.protocol import frames as f
from p2pshare.protocol.codec import decode
from p2pshare.protocol.downloads import Downloads
from p2pshare.protocol.outbox import CONTROL_CHANNEL, DEFAULT_MAX_FRAME, Action, CloseChannel, Outbox
from p2pshare.protocol.states import LINK, STREAM, LinkState
from p2pshare.protocol.uploads import Uploads

VERSIONS: Final = (1,)
MIN_MAX_FRAME: Final = 16_384
"""Bytes that every side takes in a frame."""
PING_AFTER_S: Final = 1.0
"""Seconds of silence after which the peer is pinged."""


@dataclass(frozen=True, slots=True)
class CoreConfig:
    """What a core is made with."""

    nonce: bytes
    "16 random bytes of the session: the same on all its links."
    limits: Limits
    max_frame: int = DEFAULT_MAX_FRAME
    "Bytes of the largest frame that this side takes; at least 16,384."
    auth: str | None = None
    "The method of authentication to insist on."
    versions: tuple[int, ...] = VERSIONS


class Core:
    """A link's state machine: `uploads` and `downloads` are its two directions."""

    def __init__(self, config: CoreConfig) -> None:
        self._config = config
        self._outbox = Outbox(config.limits, config.max_frame)
        self.uploads = Uploads(self._outbox)
        self.downloads = Downloads(self._outbox)
        self.state = LinkState.GREETING
        self.version: int | None = None
        self.peer: f.Hello | None = None
        "The peer's HELLO."
        self._abilities: tuple[str, ...] = ()
        self._hello_until: float | None = None
        self.heard_at = 0.0
        "When the last message came."
        self._pinged_at = 0.0
        self._pings: dict[int, float] = {}
        self._last_ping = 0
        self._is_silent = False

    # Outputs -------------------------------------------------------------------------------------------

    def take_actions(self) -> list[Action]:
        """What to do now, in this order; each is handed out once."""
        return self._outbox.take_actions()

    def take_events(self) -> list[e.CoreEvent]:
        """What happened, in order; each is handed out once."""
        return self._outbox.take_events()

    def send_page(self) -> bool:
        """Put one page of a long list on the control channel, when it has room; False: none is left."""
        return self._outbox.send_page()

    def next_timer(self) -> float | None:
        """When to call handle_timer(), at the latest."""
        if self.state is LinkState.CLOSED:
            return None
        if self.peer is None:
            return self._hello_until
        limits = self._config.limits
        until = limits.lost_timeout_s if self._is_silent else limits.silence_timeout_s
        return min(max(self.heard_at, self._pinged_at) + PING_AFTER_S, self.heard_at + until)

    @property
    def max_frame(self) -> int:
        """Bytes of the largest frame that may be sent to the peer."""
        return self._outbox.max_frame

    # Commands ------------------------------------------------------------------------------------------

    def start(
        self, now: float, max_message: int = DEFAULT_MAX_FRAME, abilities: tuple[str, ...] = ()
    ) -> None:
        """The control channel is open: greet.

        ``max_message`` is the peer's max-message-size, in bytes; ``abilities`` go into HELLO.
        """
        if self.state is LinkState.CLOSED:
            return
        if 0 < max_message < MIN_MAX_FRAME:
            error = SharingNotAvailable(f"the peer takes messages of {max_message:,} bytes at most")
            self._close(error, tell_peer=False, remote=True)
            return
        self._outbox.max_frame = min(max_message or DEFAULT_MAX_FRAME, self._outbox.max_frame)
        self._abilities = abilities
        self._hello_until = now + self._config.limits.hello_timeout_s
        self.heard_at = now
        self._outbox.control(self._hello(seen=False))

    def _hello(self, *, seen: bool) -> f.Hello:
        config = self._config
        return f.Hello(
            config.versions,
            config.nonce,
            seen,
            config.max_frame,
            config.limits.max_file_size,
            config.limits.max_files,
            self._abilities,
            config.auth,
        )

    def send_auth(self, payload: bytes) -> None:
        """Send a step of the authentication."""
        if self.state is not LinkState.AUTHENTICATING:
            raise LocalProtocolError(f"AUTH while the link is {self.state.value}")
        self._outbox.control(f.Auth(payload))

    def authenticated(self) -> None:
        """The peer has proven what it had to: open the link."""
        if self.state is not LinkState.AUTHENTICATING:
            raise LocalProtocolError(f"authenticated while the link is {self.state.value}")
        # The AUTH that proved it came just now: near enough for the round trip.
        self._open(self.heard_at)

    def close(self, error: P2PShareError) -> None:
        """End the link from this side; idempotent. Every job ends, the peer is told why."""
        if self.state is not LinkState.CLOSED:
            self._close(error, tell_peer=True, remote=False)

    def connection_lost(self, reason: str) -> None:
        """The connection under the link is gone; idempotent."""
        if self.state is not LinkState.CLOSED:
            self._close(ConnectionLost(reason, remote=True), tell_peer=False, remote=True)

    # Inputs --------------------------------------------------------------------------------------------

    def receive_message(self, channel: int, message: bytes, now: float, *, is_clogged: bool = False) -> None:
        """Take a message of any of our channels. A peer that breaks the protocol ends the link.

        ``is_clogged``: the control channel holds so much already that nothing may be added for the peer's
        asking.
        """
        if self.state is LinkState.CLOSED:
            return
        self._outbox.is_clogged = is_clogged
        self.heard_at = now
        if self._is_silent:
            self._is_silent = False
            self._outbox.tell(e.PeerHeard())
        try:
            frame = decode(message, max_size=self._config.max_frame)
            if frame is None:
                return  # a newer peer's; on a stream it counts for nothing, as we offered no such ability
            if channel == CONTROL_CHANNEL:
                if type(frame) not in LINK[self.state]:
                    raise RemoteProtocolError(f"{frame.WORD} while the link is {self.state.value}")
                self._control_received(frame, now)
            else:
                if type(frame) not in STREAM or self.state is not LinkState.OPEN:
                    raise RemoteProtocolError(f"{frame.WORD} on the job stream {channel}")
                assert isinstance(frame, f.Data | f.Finish)
                self.downloads.stream_received(channel, frame, len(message))
        except RemoteProtocolError as error:
            self._close(error, tell_peer=True, remote=False)

    def text_received(self, channel: int) -> None:
        """A text message: every frame is binary."""
        if self.state is not LinkState.CLOSED:
            error = RemoteProtocolError(f"a text message on channel {channel}")
            self._close(error, tell_peer=True, remote=False)

    def channel_closed(self, channel: int) -> None:
        """A channel has closed, at both ends: its id is free again."""
        if channel == CONTROL_CHANNEL:
            self.connection_lost("the peer closed the control channel")
            return
        self.uploads.channel_closed(channel)
        if self.state is not LinkState.CLOSED:
            self.downloads.channel_closed(channel)

    def handle_timer(self, now: float) -> None:
        """Do what is due at ``now``."""
        if self.state is LinkState.CLOSED:
            return
        if self.peer is None:
            if self._hello_until is not None and now >= self._hello_until:
                self._hello_until = None
                self._outbox.tell(e.HelloTimedOut())
            return
        limits = self._config.limits
        silent_s = now - self.heard_at
        if silent_s >= limits.lost_timeout_s:
            error = ConnectionLost(f"no sign of life for {silent_s:.0f} s", remote=True)
            self._close(error, tell_peer=True, remote=True)
            return
        if silent_s >= limits.silence_timeout_s and not self._is_silent:
            self._is_silent = True
            self._outbox.tell(e.PeerSilent(silent_s))
        if now >= max(self.heard_at, self._pinged_at) + PING_AFTER_S:
            self.ping(now)

    def ping(self, now: float) -> None:
        """Ask for a sign of life; its answer measures the round trip."""
        self._last_ping += 1
        self._pinged_at = now
        if len(self._pings) > 64:
            self._pings.clear()
        self._pings[self._last_ping] = now
        self._outbox.control(f.Ping(self._last_ping))

    # Frames --------------------------------------------------------------------------------------------

    def _control_received(self, frame: f.Frame, now: float) -> None:
        match frame:
            case f.Window():
                self.uploads.window_received(frame)
            case f.Ping():
                if not self._outbox.is_clogged:  # else what waits there is sign of life enough
                    self._outbox.control(f.Pong(frame.token))
            case f.Pong():
                sent_at = self._pings.pop(frame.token, None)
                if sent_at is not None:
                    self._rtt_measured(now - sent_at)
            case f.OfferFrame():
                self.downloads.offer_received(frame)
            case f.Files():
                self.downloads.files_received(frame)
            case f.Withdraw():
                self.downloads.withdraw_received(frame)
            case f.Accept():
                self.uploads.accept_received(frame)
            case f.RangesFrame():
                self.uploads.ranges_received(frame)
            case f.Decline():
                self.uploads.decline_received(frame)
            case f.Kept():
                self.uploads.kept_received(frame)
            case f.HaveQuery():
                self.uploads.have_asked(frame)
            case f.Have():
                self.downloads.have_received(frame)
            case f.Confirm():
                self.uploads.confirm_received(frame)
            case f.Reset():
                self.downloads.reset_received(frame)
            case f.Stop():
                self.uploads.stop_received(frame)
            case f.Ended():
                self.downloads.ended_received(frame)
            case f.Pause() | f.Resume():
                side = self.downloads if frame.job % 2 == self._outbox.parity else self.uploads
                side.pause_received(frame)
            case f.Hello():
                self._hello_received(frame, now)
            case f.Auth():
                self._outbox.tell(e.AuthReceived(frame.payload))
            case f.Close():
                self._close_received(frame)
            case _:
                raise AssertionError(frame)

    def _hello_received(self, hello: f.Hello, now: float) -> None:
        if not hello.seen:
            self._outbox.answer(self._hello(seen=True))
        if self.peer is not None:
            if hello.nonce != self.peer.nonce:
                raise RemoteProtocolError("HELLO: another session speaks on this channel")
            return
        if hello.nonce == self._config.nonce:
            raise RemoteProtocolError("HELLO: our own, reflected")
        common = set(hello.versions) & set(self._config.versions)
        if not common or hello.auth != self._config.auth:
            what = f"the peer speaks versions {hello.versions}, this side {self._config.versions}"
            if common:
                what = f"the peer authenticates by {show(hello.auth or 'nothing')}, this side by "
                what += show(self._config.auth or "nothing")
            self._close(SharingNotAvailable(what), tell_peer=True, remote=False)
            return
        self.peer = hello
        self.version = max(common)
        self._outbox.parity = 0 if self._config.nonce < hello.nonce else 1
        self._outbox.max_frame = min(self._outbox.max_frame, hello.max_frame)
        self._outbox.tell(e.PeerGreeted(hello))
        if self._config.auth:
            self.state = LinkState.AUTHENTICATING
        else:
            self._open(now)

    def _open(self, now: float) -> None:
        assert self.peer is not None
        self.state = LinkState.OPEN
        self.uploads.peer_max_file_size = self.peer.max_file_size
        self.uploads.peer_max_files = self.peer.max_files
        self._outbox.tell(e.LinkOpened())
        self.ping(now)  # windows grow by the round trip; during a transfer no silence asks for it

    def _rtt_measured(self, rtt: float) -> None:
        before = self.downloads.rtt
        self.downloads.rtt = rtt if not before else 0.875 * before + 0.125 * rtt

    def _close_received(self, frame: f.Close) -> None:
        reason = show(frame.reason)[1:-1] or "the peer ended the link"
        error: P2PShareError
        if frame.code == ErrorCode.PROTOCOL_ERROR:
            error = LocalProtocolError(f"the peer says: {reason}")
        elif frame.code == ErrorCode.CONNECTION_LOST:  # for the peer, who has a newer connection: so for us
            error = ConnectionLost(reason, remote=True)
        else:
            error = SharingNotAvailable(reason)
        self._close(error, tell_peer=False, remote=True)

    def _close(self, error: P2PShareError, *, tell_peer: bool, remote: bool) -> None:
        self.state = LinkState.CLOSED
        reason = str(error)
        self._outbox.finish(f.Close(int(error.code), reason[:200]) if tell_peer else None)
        code = (
            int(error.code) if isinstance(error, ProtocolError | TransferError) else ErrorCode.CONNECTION_LOST
        )
        self.uploads.lose_all(code, reason, remote)
        self.downloads.lose_all(code, reason, remote)
        self._outbox.act(CloseChannel(CONTROL_CHANNEL))
        self._outbox.tell(e.LinkClosed(error))
