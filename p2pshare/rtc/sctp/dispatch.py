"""What the inlet leaves: control chunks, data out of order, and everything that is not what it should be.

**Nothing here raises for what a peer sent, loops, or believes a length**: a packet is read chunk by chunk,
what does not fit is dropped and counted, and the rest of its packet with it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from p2pshare.rtc.sctp.config import AssociationConfig
from p2pshare.rtc.sctp.control import ControlQueue
from p2pshare.rtc.sctp.heartbeat import Heartbeat
from p2pshare.rtc.sctp.lifecycle import Lifecycle
from p2pshare.rtc.sctp.memory import Buffer, crc_of, extend_crc
from p2pshare.rtc.sctp.packet import (
    CHUNK_HEADER,
    COMMON_HEADER,
    Cause,
    Flag,
    ForwardTsn,
    IForwardTsn,
    Init,
    Kind,
    Malformed,
    Sack,
    encode_chunk,
    encode_parameter,
)
from p2pshare.rtc.sctp.resets import StreamResets
from p2pshare.rtc.sctp.rx.receiver import Receiver
from p2pshare.rtc.sctp.state import State
from p2pshare.rtc.sctp.stats import Counters, Drop
from p2pshare.rtc.sctp.tx.sender import Sender

_COMMON = 12
_DATA = struct.Struct("!IHHI")
_I_DATA = struct.Struct("!IHHII")
_ECHO_AT_MOST = 1_024
_SWEEPS = (Kind.FORWARD_TSN, Kind.I_FORWARD_TSN, Kind.RECONFIG)
"Chunks that have all unfinished messages looked through."
_SWEEPS_AT_MOST = 4  # in a packet; no stack sends more than two


class Dispatch:
    """Reads packets chunk by chunk and hands each chunk to whom it concerns."""

    def __init__(
        self,
        config: AssociationConfig,
        view: Buffer,
        lifecycle: Lifecycle,
        control: ControlQueue,
        heartbeat: Heartbeat,
        counters: Counters,
    ) -> None:
        self._config = config
        self._view = view
        self._lifecycle = lifecycle
        self._control = control
        self._heartbeat = heartbeat
        self._counters = counters
        self._sender: Sender | None = None
        self._receiver: Receiver | None = None
        self._resets: StreamResets | None = None
        self._on_heartbeat_ack: Callable[[float, int, float], None] | None = None
        self.was_heard = False
        "The peer has sent a packet that is its own."
        self._header = b""
        "Ports and tag of the peer's packets, once it is known, and the checksum's state behind them."
        self._header_state = 0

    def set_up(
        self,
        sender: Sender,
        receiver: Receiver,
        resets: StreamResets,
        on_heartbeat_ack: Callable[[float, int, float], None],
    ) -> None:
        """The two halves of an association that is established."""
        config = self._config
        tag = self._lifecycle.handshake.tag
        self._header = COMMON_HEADER.pack(config.remote_port, config.local_port, tag, 0)[:8]
        self._header_state = crc_of(self._header + bytes(4))
        self._sender = sender
        self._receiver = receiver
        self._resets = resets
        self._on_heartbeat_ack = on_heartbeat_ack

    def packet(self, size: int, start: int, now: float) -> None:
        """Take the packet in the inbox from ``start`` on: all of it, unless the inlet took a part."""
        dropped = self._counters.dropped
        self._counters.packets_received += 1
        if not 16 <= size <= len(self._view):
            dropped[Drop.SHORT] += 1
            return
        packet: bytes = self._view[0:size]
        if packet[12] == Kind.SACK and packet[:8] == self._header and self._sack_alone(packet, now):
            return
        if start == _COMMON and not self._is_genuine(packet):
            return
        self.was_heard = True
        try:
            self._chunks(packet, start, now)
        except Malformed:
            dropped[Drop.MALFORMED] += 1

    def _sack_alone(self, packet: bytes, now: float) -> bool:
        """Take a packet that is one SACK and nothing else: what a sender hears all the time."""
        if (
            _COMMON + int.from_bytes(packet[14:16], "big") != len(packet)
            or extend_crc(self._header_state, packet[_COMMON:]).to_bytes(4, "little") != packet[8:12]
            or self._lifecycle.state is State.GONE
        ):
            return False
        self.was_heard = True
        try:
            self._sack(packet[16:], now)
        except Malformed:
            self._counters.dropped[Drop.MALFORMED] += 1
        return True

    def _is_genuine(self, packet: bytes) -> bool:
        """Whether checksum, ports and verification tag fit (RFC 9260 sections 6.8 and 8.5)."""
        dropped = self._counters.dropped
        if extend_crc(crc_of(packet[:8] + bytes(4)), packet[_COMMON:]).to_bytes(4, "little") != packet[8:12]:
            dropped[Drop.CHECKSUM] += 1
            return False
        source, destination, tag, _ = COMMON_HEADER.unpack_from(packet)
        if source != self._config.remote_port or destination != self._config.local_port:
            dropped[Drop.PORTS] += 1
            return False
        kind, flags, length = CHUNK_HEADER.unpack_from(packet, _COMMON)
        if kind == Kind.INIT:  # alone in its packet, with no tag
            is_expected = tag == 0 and _COMMON + (length + 3 & ~3) == len(packet)
        elif kind == Kind.COOKIE_ECHO:  # the cookie holds the tag that it has to have
            is_expected = tag != 0
        elif kind in (Kind.ABORT, Kind.SHUTDOWN_COMPLETE) and flags & Flag.TAG_REFLECTED:
            peer = self._lifecycle.peer
            is_expected = peer is not None and tag == peer.tag
        else:
            is_expected = tag == self._lifecycle.handshake.tag
        if not is_expected:
            dropped[Drop.TAG] += 1
        return bool(is_expected)

    def _chunks(self, packet: bytes, at: int, now: float) -> None:
        size = len(packet)
        unpack = CHUNK_HEADER.unpack_from
        sweeps = 0
        while at + 4 <= size:
            if self._lifecycle.state is State.GONE:
                self._counters.dropped[Drop.STATE] += 1
                return
            kind, flags, length = unpack(packet, at)
            end = at + length
            if length < 4 or end > size:
                raise Malformed("chunk")
            if kind == Kind.DATA or kind == Kind.I_DATA:
                self._data(packet, at, kind, flags, length)
            elif kind in _SWEEPS and sweeps == _SWEEPS_AT_MOST:
                self._counters.dropped[Drop.FLOOD] += 1
            elif kind != Kind.PAD:
                sweeps += kind in _SWEEPS
                body = packet[at + 4 : end]
                if not self._chunk(kind, flags, body, packet, now):
                    return
            at = end + 3 & ~3
        if at < size:
            raise Malformed("bytes behind the last chunk")

    def _data(self, packet: bytes, at: int, kind: int, flags: int, length: int) -> None:
        receiver = self._receiver
        if (
            receiver is None
            or not self._lifecycle.may_receive
            or (kind == Kind.I_DATA) != receiver.interleaved
        ):
            self._counters.dropped[Drop.STATE] += 1
            return
        layout = _I_DATA if receiver.interleaved else _DATA
        begin = 4 + layout.size
        if length <= begin:
            raise Malformed("data without payload")
        payload = packet[at + begin : at + length]
        if receiver.interleaved:
            tsn, stream_id, _, number, second = _I_DATA.unpack_from(packet, at + 4)
        else:
            tsn, stream_id, number, second = _DATA.unpack_from(packet, at + 4)
        receiver.on_data(flags, tsn, stream_id, number, second, payload)

    def _chunk(self, kind: int, flags: int, body: bytes, packet: bytes, now: float) -> bool:
        """Take a control chunk. Returns False if the rest of its packet is to be dropped."""
        lifecycle = self._lifecycle
        if kind == Kind.SACK:
            self._sack(body, now)
        elif kind == Kind.HEARTBEAT:
            if len(body) <= _ECHO_AT_MOST:
                self._control.send(encode_chunk(Kind.HEARTBEAT_ACK, body))
        elif kind == Kind.HEARTBEAT_ACK:
            rtt_s, probe_size = self._heartbeat.read(body, now)
            if self._on_heartbeat_ack is not None:
                self._on_heartbeat_ack(rtt_s, probe_size, now)
        elif kind == Kind.FORWARD_TSN or kind == Kind.I_FORWARD_TSN:
            self._forward(kind, body)
        elif kind == Kind.RECONFIG:
            if self._resets is not None and lifecycle.is_up:
                self._resets.on_reconfig(body, now)
        elif kind == Kind.INIT:
            lifecycle.on_init(Init.decode(body), now)
        elif kind == Kind.INIT_ACK:
            lifecycle.on_init_ack(Init.decode(body), now)
        elif kind == Kind.COOKIE_ECHO:
            return lifecycle.on_cookie_echo(body, COMMON_HEADER.unpack_from(packet)[2], now)
        elif kind == Kind.COOKIE_ACK:
            lifecycle.on_cookie_ack(now)
        elif kind == Kind.ERROR:
            lifecycle.on_error(body, now)
        elif kind == Kind.ABORT:
            lifecycle.on_abort(body)
        elif kind == Kind.SHUTDOWN:
            self._shutdown(body, now)
        elif kind == Kind.SHUTDOWN_ACK:
            lifecycle.on_shutdown_ack(COMMON_HEADER.unpack_from(packet)[2])
        elif kind == Kind.SHUTDOWN_COMPLETE:
            lifecycle.on_shutdown_complete()
        else:
            return self._unknown(kind, flags, body)
        return True

    def _sack(self, body: bytes, now: float) -> None:
        sack = Sack.decode(body)
        if self._sender is None:
            self._counters.dropped[Drop.STATE] += 1
            return
        self._counters.sacks_received += 1
        if not self._sender.on_sack(sack, now):
            self._counters.dropped[Drop.UNSENT] += 1

    def _forward(self, kind: int, body: bytes) -> None:
        receiver = self._receiver
        if (
            receiver is None
            or not self._lifecycle.may_receive
            or (kind == Kind.I_FORWARD_TSN) != receiver.interleaved
            or not self._config.partial_reliability
        ):
            self._counters.dropped[Drop.STATE] += 1
            return
        receiver.on_forward_tsn((IForwardTsn if receiver.interleaved else ForwardTsn).decode(body))

    def _shutdown(self, body: bytes, now: float) -> None:
        if len(body) < 4:
            raise Malformed("SHUTDOWN")
        if self._sender is not None and self._receiver is not None:
            self._sender.on_sack(Sack(int.from_bytes(body[:4], "big"), self._sender.peer_window), now)
            self._lifecycle.on_shutdown(now)

    def _unknown(self, kind: int, flags: int, body: bytes) -> bool:
        """RFC 9260 section 3.2: the type's two highest bits say whether to go on and whether to report it."""
        self._counters.dropped[Drop.UNKNOWN] += 1
        if kind & 0x40 and self._lifecycle.is_up:
            chunk = encode_chunk(kind, body[:_ECHO_AT_MOST], flags)
            self._control.send(encode_chunk(Kind.ERROR, encode_parameter(Cause.UNRECOGNIZED_CHUNK, chunk)))
        return bool(kind & 0x80)
