"""A stock SCTP transport becomes ours, at any moment of its life, by a change of its class.

It stays the same object: the peer connection, its channels and all listeners go on holding it. What an
established association knows (numbers, what is queued, unacknowledged, half received) moves into ours.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Final

from aiortc import RTCSctpTransport
from aiortc.rtcsctptransport import StreamResetOutgoingParam, tsn_plus_one
from aiortc.utils import uint32_gt

from p2pshare.rtc.datapath.transport import SctpTransport
from p2pshare.rtc.sctp.dcep import PPID_CONTROL
from p2pshare.rtc.sctp.packet import Flag
from p2pshare.rtc.sctp.reconfig import OutgoingReset
from p2pshare.rtc.sctp.snapshot import HeldChunk, QueuedMessage, SentChunk, Snapshot

PEER_WINDOW: Final = 131_072
"Bytes that the peer may be sent until its next SACK says more: stock forgets what the last one said."

STOCK_NAMES: Final = (
    "_advanced_peer_ack_tsn",
    "_association_state",
    "_data_channel_inbound_reset",
    "_data_channel_outbound_reset",
    "_data_channel_queue",
    "_data_channels",
    "_forward_tsn_chunk",
    "_forward_tsn_streams",
    "_inbound_streams",
    "_last_received_tsn",
    "_last_sacked_tsn",
    "_local_tsn",
    "_local_verification_tag",
    "_outbound_queue",
    "_outbound_stream_seq",
    "_outbound_streams_count",
    "_reconfig_deferred",
    "_reconfig_queue",
    "_reconfig_request",
    "_reconfig_request_seq",
    "_reconfig_response_seq",
    "_reconfig_timer_cancel",
    "_remote_extensions",
    "_remote_max_message_size",
    "_remote_partial_reliability",
    "_remote_port",
    "_remote_verification_tag",
    "_sack_misordered",
    "_sent_queue",
    "_set_state",
    "_srtt",
    "_t1_cancel",
    "_t2_cancel",
    "_t3_cancel",
)
"What is read of a stock transport, or called to silence it."


def take_over(transport: RTCSctpTransport) -> None:
    """Make this transport, which is not closed, ours; one that is connecting, as soon as it is connected."""
    if transport.state == "new":
        _take_new(transport)
    elif transport.state == "connected":
        _take_established(transport)
    else:
        _take_when_established(transport)


def _take_new(transport: RTCSctpTransport) -> None:
    registered = dict(transport._data_channels)
    unnumbered = [channel for channel, _, _ in transport._data_channel_queue if channel.id is None]
    ours = _change_class(transport)
    ours._channels.adopt(registered, unnumbered)


def _take_when_established(transport: RTCSctpTransport) -> None:
    """Watch stock's changes of state: the handshake is its own to finish."""

    def set_state(state: RTCSctpTransport.State) -> None:
        RTCSctpTransport._set_state(transport, state)
        if state is transport.State.ESTABLISHED:  # but not from within: stock's own calls are on the stack
            asyncio.get_running_loop().call_soon(established)

    def established() -> None:
        if vars(transport).pop("_set_state", None) is not None and transport.state == "connected":
            _take_established(transport)

    vars(transport)["_set_state"] = set_state


def _change_class(transport: RTCSctpTransport) -> SctpTransport:
    changed: Any = transport
    changed.__class__ = SctpTransport
    assert isinstance(changed, SctpTransport)
    changed._adopt()
    return changed


def _take_established(transport: RTCSctpTransport) -> None:
    snapshot = _snapshot(transport)
    registered = dict(transport._data_channels)
    unnumbered = [channel for channel, _, _ in transport._data_channel_queue if channel.id is None]
    overhead: Counter[int] = Counter()
    for queued in snapshot.queued:
        if queued.ppid == PPID_CONTROL:
            overhead[queued.stream_id] += len(queued.payload)
    max_streams = transport._outbound_streams_count
    reset_by_us, reset_by_peer = transport._data_channel_outbound_reset, transport._data_channel_inbound_reset
    to_reset = list(transport._reconfig_queue)
    _silence(transport)
    ours = _change_class(transport)
    ours._channels.adopt(registered, unnumbered)
    ours.resume(
        snapshot,
        max_streams=max_streams,
        reset_by_us=reset_by_us,
        reset_by_peer=reset_by_peer,
        to_reset=to_reset,
        overhead=overhead,
    )


def _silence(transport: RTCSctpTransport) -> None:
    """Leave stock nothing to do: its tasks may have been made already, or wait for a listener to return."""
    for cancel in (transport._t1_cancel, transport._t2_cancel, transport._t3_cancel):
        cancel()
    transport._reconfig_timer_cancel()
    transport._association_state = transport.State.CLOSED
    transport._data_channels = {}
    transport._data_channel_queue.clear()
    transport._sent_queue.clear()
    transport._outbound_queue.clear()
    transport._forward_tsn_chunk = None
    transport._reconfig_queue = []
    transport._reconfig_request = transport._reconfig_deferred = None
    for stream in transport._inbound_streams.values():
        stream.reassembly = []


def _snapshot(transport: RTCSctpTransport) -> Snapshot:
    """What the two ends have agreed on so far."""
    assert transport._last_received_tsn is not None
    streams = transport._inbound_streams
    return Snapshot(
        local_tag=transport._local_verification_tag,
        peer_tag=transport._remote_verification_tag,
        next_tsn=transport._local_tsn,
        acked_tsn=transport._last_sacked_tsn,
        received_tsn=transport._last_received_tsn,
        peer_window=PEER_WINDOW,
        reset_number=transport._reconfig_request_seq,
        peer_reset_number=transport._reconfig_response_seq,
        peer_inbound_streams=transport._outbound_streams_count,
        peer_extensions=frozenset(transport._remote_extensions),
        peer_forward_tsn=transport._remote_partial_reliability,
        outstanding=(*_skipped(transport), *_sent(transport)),
        queued=tuple(
            QueuedMessage(
                channel.id,
                ppid,
                payload,
                ordered=channel.ordered or ppid == PPID_CONTROL,
                max_retransmits=None if ppid == PPID_CONTROL else channel.maxRetransmits,
                lifetime_s=(channel.maxPacketLifeTime or 0) / 1_000 or None if ppid != PPID_CONTROL else None,
            )
            for channel, ppid, payload in transport._data_channel_queue
            if channel.id is not None
        ),
        outbound_sequences=dict(transport._outbound_stream_seq),
        inbound_sequences={stream_id: stream.sequence_number for stream_id, stream in streams.items()},
        received_ahead=tuple(transport._sack_misordered),
        held=tuple(
            HeldChunk(
                chunk.tsn, chunk.stream_id, chunk.stream_seq, chunk.protocol, chunk.flags, chunk.user_data
            )
            for stream in streams.values()
            for chunk in stream.reassembly
        ),
        pending_reset=_reset(transport._reconfig_request),
        deferred_reset=_reset(transport._reconfig_deferred),
        rtt_s=transport._srtt,
    )


def _sent(transport: RTCSctpTransport) -> list[SentChunk]:
    """Chunks that have a TSN: on their way, to be sent again, or waiting for their first time."""
    sent = [(chunk, not chunk._retransmit) for chunk in transport._sent_queue]
    waiting = [(chunk, False) for chunk in transport._outbound_queue]
    return [
        SentChunk(
            chunk.tsn,
            chunk.stream_id,
            chunk.stream_seq,
            chunk.protocol,
            chunk.flags,
            chunk.user_data,
            in_flight=is_in_flight,
            acked=chunk._acked,
            abandoned=chunk._abandoned,
        )
        for chunk, is_in_flight in (*sent, *waiting)
    ]


def _skipped(transport: RTCSctpTransport) -> list[SentChunk]:
    """Chunks that stock has given up and forgotten, of which the peer has not acknowledged to know."""
    last_of = {
        tsn: (stream_id, number) for stream_id, (number, tsn) in transport._forward_tsn_streams.items()
    }
    skipped = []
    tsn = transport._last_sacked_tsn
    while uint32_gt(transport._advanced_peer_ack_tsn, tsn):
        tsn = tsn_plus_one(tsn)
        stream_id, number = last_of.get(tsn, (0, 0))
        flags = Flag.BEGINS | Flag.ENDS | (0 if tsn in last_of else Flag.UNORDERED)
        skipped.append(SentChunk(tsn, stream_id, number, 0, flags, b"", in_flight=False, abandoned=True))
    return skipped


def _reset(request: StreamResetOutgoingParam | None) -> OutgoingReset | None:
    if request is None:
        return None
    return OutgoingReset(
        request.request_sequence, request.response_sequence, request.last_tsn, tuple(request.streams)
    )
