"""The data channels of one association: aiortc's own RTCDataChannel objects, their ids, opening, closing.

RFC 8831 and 8832 between channels and streams. Whatever the peer sends that makes no sense here (an OPEN for
a channel that exists, text that is none, messages on no channel) is dropped and counted; whatever the
program's listeners raise is logged, and concerns that one event alone: neither reaches the association.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from aiortc import InvalidStateError, RTCDataChannel, RTCDataChannelParameters, RTCSctpTransport

from p2pshare.rtc.sctp import dcep
from p2pshare.rtc.sctp.association import Association
from p2pshare.rtc.sctp.dcep import (
    PPID_BINARY,
    PPID_BINARY_EMPTY,
    PPID_CONTROL,
    PPID_STRING,
    PPID_STRING_EMPTY,
)
from p2pshare.rtc.sctp.events import (
    BytesSent,
    Established,
    MessageAbandoned,
    StreamResetDenied,
    StreamsReset,
)
from p2pshare.rtc.sctp.packet import Malformed

logger = logging.getLogger(__name__)

MAX_PEER_CHANNELS: Final = 4_096
"Channels that the peer may have open by its OPEN: each is an object of ours, of some 3 KB."

_EMPTY = b"\0"  # SCTP has no empty messages: RFC 8831 section 6.6


class DataChannels:
    """The channels, open and not yet open, and what they ask of the association."""

    def __init__(
        self, transport: RTCSctpTransport, clock: Callable[[], float], wake: Callable[[], None]
    ) -> None:
        """``wake`` is called when the association has something to do, soon but not from within."""
        self.drops: Counter[str] = Counter()
        "What the peer sent in vain, by reason."
        self._transport = transport
        self._clock = clock
        self._wake = wake
        self._association: Association | None = None
        self._max_streams = 65_535
        self._next_id = 0
        self._channels: dict[int, RTCDataChannel] = {}
        self._unnumbered: list[RTCDataChannel] = []
        self._peer_channels: set[int] = set()
        self._to_reset: list[int] = []
        self._reset_by_us: set[int] = set()
        self._reset_by_peer: set[int] = set()
        # Bytes of DCEP that a stream has to send: they are of no message, so of no bufferedAmount.
        self._overhead: Counter[int] = Counter()

    # --- what the program asks -----------------------------------------------------------------------------

    def open(self, channel: RTCDataChannel) -> None:
        """Announce a channel to the peer, now or once the association is established.

        Raises:
            ValueError: The id is taken or none, or OPEN has no room for the channel's label or limits.
        """
        _opening(channel)
        if channel.id is None:
            self._unnumbered.append(channel)
        else:
            self._register(channel.id, channel)
        if self._association is not None:
            self._announce_to_peer(channel)

    def add_negotiated(self, channel: RTCDataChannel) -> None:
        """Take a channel that the peer creates by itself.

        Raises:
            ValueError: The id is taken.
        """
        assert channel.id is not None
        self._register(channel.id, channel)
        if self._association is not None:
            channel._setReadyState("open")

    def send(self, channel: RTCDataChannel, message: bytes | str, size_limit: int) -> None:
        """Queue a message. It counts as buffered until its last byte was handed to the network.

        Raises:
            ValueError: It is larger than the peer takes; a limit of 0 is none.
        """
        association = self._association
        assert association is not None
        assert channel.id is not None
        if isinstance(message, str):
            ppid, payload = (PPID_STRING, message.encode()) if message else (PPID_STRING_EMPTY, _EMPTY)
        else:
            ppid, payload = (PPID_BINARY, message) if message else (PPID_BINARY_EMPTY, _EMPTY)
        if 0 < size_limit < len(payload):
            raise ValueError(
                f"Cannot send message of {len(payload)} bytes, "
                f"the remote party only supports messages up to {size_limit} bytes"
            )
        lifetime_ms = channel.maxPacketLifeTime
        try:
            association.send(
                channel.id,
                ppid,
                payload,
                ordered=channel.ordered,
                max_retransmits=channel.maxRetransmits,
                lifetime_s=None if lifetime_ms is None else lifetime_ms / 1_000,
                now=self._clock(),
            )
        except RuntimeError as exc:  # the peer is shutting the association down
            raise InvalidStateError from exc
        channel._addBufferedAmount(len(payload))

    def close(self, channel: RTCDataChannel) -> None:
        """Close a channel once what it has queued is sent; its id is free when both directions are reset."""
        if channel.readyState in ("closing", "closed"):
            return
        channel._setReadyState("closing")
        if self._association is not None and channel.id is not None:
            self._to_reset.append(channel.id)
            self._wake()
        elif channel.id is not None:
            self._closed(channel.id)
        else:
            self._unnumbered.remove(channel)
            self._set_state(channel, "closed")

    def flush(self) -> None:
        """Ask for the resets that channels wait for: not done in close(), which a listener may call."""
        if self._to_reset and self._association is not None:
            stream_ids, self._to_reset = self._to_reset, []
            self._association.reset_streams(stream_ids, self._clock())

    def __len__(self) -> int:
        return len(self._channels) + len(self._unnumbered)

    # --- what the association reports ----------------------------------------------------------------------

    def established(self, association: Association, event: Established, *, is_dtls_server: bool) -> None:
        """Give ids out, and open what waited."""
        self._association = association
        self._max_streams = event.max_outbound_streams
        self._next_id = 1 if is_dtls_server else 0  # RFC 8832 section 6
        for stream_id, channel in list(self._channels.items()):
            if stream_id >= self._max_streams:
                self._closed(stream_id)
            elif channel.negotiated:
                self._set_state(channel, "open")
            else:
                self._announce_to_peer(channel)
        for channel in self._unnumbered[:]:
            self._announce_to_peer(channel)

    def adopt(self, registered: dict[int, RTCDataChannel], unnumbered: list[RTCDataChannel]) -> None:
        """Take over the channels of a stock transport; `established` or `resume` follows."""
        self._channels.update(registered)
        self._unnumbered += unnumbered

    def resume(
        self,
        association: Association,
        *,
        max_streams: int,
        is_dtls_server: bool,
        reset_by_us: set[int],
        reset_by_peer: set[int],
        to_reset: list[int],
        overhead: Counter[int],
    ) -> None:
        """Go on with an association that was taken over, and with what stock had begun on it."""
        self._association = association
        self._max_streams = max_streams
        self._next_id = 1 if is_dtls_server else 0
        self._reset_by_us |= reset_by_us
        self._reset_by_peer |= reset_by_peer
        self._to_reset += to_reset
        self._overhead += overhead
        for channel in self._unnumbered[:]:
            self._announce_to_peer(channel)

    def message_received(self, stream_id: int, ppid: int, payload: bytes) -> None:
        """A message for a channel, or for us. From here the association is only sent to."""
        channel = self._channels.get(stream_id)
        if ppid == PPID_BINARY and channel is not None:
            self._emit(channel, payload)
        elif ppid == PPID_CONTROL:
            self._control_received(stream_id, channel, payload)
        elif channel is None:
            self.drops["message on no channel"] += 1
        elif ppid == PPID_STRING:
            try:
                text = payload.decode()
            except UnicodeDecodeError:
                self.drops["text that is not UTF-8"] += 1
            else:
                self._emit(channel, text)
        elif ppid == PPID_STRING_EMPTY:
            self._emit(channel, "")
        elif ppid == PPID_BINARY_EMPTY:
            self._emit(channel, b"")
        else:
            self.drops["message of an unknown kind"] += 1

    def bytes_sent(self, event: BytesSent | MessageAbandoned) -> None:
        """A channel's bufferedAmount falls."""
        size = event.unsent if isinstance(event, MessageAbandoned) else event.size
        overhead = self._overhead.get(event.stream_id)
        if overhead:
            size, self._overhead[event.stream_id] = max(0, size - overhead), max(0, overhead - size)
        channel = self._channels.get(event.stream_id)
        if channel is not None and size:
            try:
                channel._addBufferedAmount(-min(size, channel.bufferedAmount))
            except Exception:  # noqa: BLE001  # the program's listener to "bufferedamountlow"
                _log_listener("bufferedamountlow")

    def streams_reset(self, event: StreamsReset) -> None:
        """One direction of some channels has ended."""
        for stream_id in event.stream_ids:
            channel = self._channels.get(stream_id)
            if channel is None:
                continue
            if event.incoming:
                self._reset_by_peer.add(stream_id)
                self.close(channel)
            else:
                self._reset_by_us.add(stream_id)
            if stream_id in self._reset_by_us and stream_id in self._reset_by_peer:
                self._closed(stream_id)

    def reset_denied(self, event: StreamResetDenied) -> None:
        """The peer will not: the channels close here at once, as the program asked."""
        for stream_id in event.stream_ids:
            if stream_id in self._channels:
                self._closed(stream_id)

    def all_closed(self) -> None:
        """The association is over."""
        self._association = None
        for stream_id in list(self._channels):
            self._closed(stream_id)
        for channel in self._unnumbered[:]:
            self._unnumbered.remove(channel)
            self._set_state(channel, "closed")

    # --- DCEP (RFC 8832) -----------------------------------------------------------------------------------

    def _announce_to_peer(self, channel: RTCDataChannel) -> None:
        stream_id = channel.id
        if stream_id is None:
            stream_id = self._free_id()
            self._unnumbered.remove(channel)
            if stream_id is None:
                self._set_state(channel, "closed")
                return
            channel._setId(stream_id)
            self._channels[stream_id] = channel
        self._send_control(stream_id, _opening(channel))

    def _control_received(self, stream_id: int, channel: RTCDataChannel | None, message: bytes) -> None:
        try:
            decoded = dcep.decode(message)
        except Malformed:
            self.drops["malformed DCEP message"] += 1
            return
        if isinstance(decoded, dcep.Ack):
            if channel is None:
                self.drops["ACK of no channel"] += 1
            elif channel.readyState == "connecting":  # one that is closing does not open again
                self._set_state(channel, "open")
        elif channel is not None:
            self.drops["OPEN of a channel that exists"] += 1
        elif len(self._peer_channels) >= MAX_PEER_CHANNELS or stream_id >= self._max_streams:
            self.drops["OPEN of a channel too many"] += 1
        else:
            self._opened_by_peer(stream_id, decoded)

    def _opened_by_peer(self, stream_id: int, opening: dcep.Open) -> None:
        parameters = RTCDataChannelParameters(
            label=opening.label,
            protocol=opening.protocol,
            ordered=opening.ordered,
            maxRetransmits=opening.max_retransmits,
            maxPacketLifeTime=opening.lifetime_ms,
            id=stream_id,
        )
        channel = RTCDataChannel(self._transport, parameters, send_open=False)
        self._peer_channels.add(stream_id)
        self._channels[stream_id] = channel
        self._set_state(channel, "open")
        self._send_control(stream_id, dcep.Ack().encode())
        try:
            self._transport.emit("datachannel", channel)
        except Exception:  # noqa: BLE001  # the program's listener
            _log_listener("datachannel")

    def _send_control(self, stream_id: int, message: bytes) -> None:
        assert self._association is not None
        with suppress(RuntimeError):  # the peer is shutting the association down
            self._association.send(stream_id, PPID_CONTROL, message, now=self._clock())
            self._overhead[stream_id] += len(message)
            self._wake()

    # --- bookkeeping ---------------------------------------------------------------------------------------

    def _register(self, stream_id: int, channel: RTCDataChannel) -> None:
        if stream_id in self._channels:
            raise ValueError(f"Data channel with ID {stream_id} already registered")
        if not 0 <= stream_id < self._max_streams:
            raise ValueError(f"Data channel ID {stream_id} is not one of 0 to {self._max_streams - 1}")
        self._channels[stream_id] = channel

    def _free_id(self) -> int | None:
        """The lowest id of our parity that is free."""
        taken = range(self._next_id, self._max_streams, 2)
        return next((stream_id for stream_id in taken if stream_id not in self._channels), None)

    def _closed(self, stream_id: int) -> None:
        self._reset_by_us.discard(stream_id)
        self._reset_by_peer.discard(stream_id)
        self._peer_channels.discard(stream_id)
        self._overhead.pop(stream_id, None)
        channel = self._channels.pop(stream_id, None)
        if channel is not None:  # else a listener to another channel's end has closed it meanwhile
            self._set_state(channel, "closed")

    def _set_state(self, channel: RTCDataChannel, state: str) -> None:
        try:
            channel._setReadyState(state)
        except Exception:  # noqa: BLE001  # the program's listener to "open" or "close"
            _log_listener(state)

    def _emit(self, channel: RTCDataChannel, message: bytes | str) -> None:
        try:
            channel.emit("message", message)
        except Exception:  # noqa: BLE001  # the program's listener: the next message is not its fault
            _log_listener("message")


def _opening(channel: RTCDataChannel) -> bytes:
    """The OPEN message for a channel. Raises ValueError for what it cannot say."""
    return dcep.Open(
        label=channel.label,
        protocol=channel.protocol,
        ordered=channel.ordered,
        max_retransmits=channel.maxRetransmits,
        lifetime_ms=channel.maxPacketLifeTime,
    ).encode()


def _log_listener(event: str) -> None:
    logger.exception("a listener to %r of a data channel failed", event)
