"""The state of an established association of another stack, to go on from: `Association.take_over`.

All TSNs and numbers as on the wire. The peer sees nothing of the change: no chunk is sent for it, and what is
outstanding is sent again only if it is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from p2pshare.rtc.sctp.handshake import Numbers, Peer
from p2pshare.rtc.sctp.packet import WRAP, Kind, extended
from p2pshare.rtc.sctp.reconfig import OutgoingReset, Result
from p2pshare.rtc.sctp.resets import StreamResets
from p2pshare.rtc.sctp.rx.receiver import Receiver
from p2pshare.rtc.sctp.tx.message import Message
from p2pshare.rtc.sctp.tx.sender import Sender


@dataclass(frozen=True, slots=True)
class SentChunk:
    """A DATA chunk that has its TSN and is not cumulatively acknowledged."""

    tsn: int
    stream_id: int
    sequence: int
    ppid: int
    flags: int
    payload: bytes = field(repr=False)
    in_flight: bool = True
    "False: not sent yet, or to be sent again."
    acked: bool = False
    "Acknowledged by a gap block."
    abandoned: bool = False


@dataclass(frozen=True, slots=True)
class HeldChunk:
    """A DATA chunk that has arrived and whose message was not delivered."""

    tsn: int
    stream_id: int
    sequence: int
    ppid: int
    flags: int
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """A message of which nothing has a TSN yet."""

    stream_id: int
    ppid: int
    payload: bytes = field(repr=False)
    ordered: bool = True
    max_retransmits: int | None = None
    lifetime_s: float | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that the two ends have agreed on so far."""

    local_tag: int
    peer_tag: int
    next_tsn: int
    "The TSN that would be given next."
    acked_tsn: int
    "The peer's cumulative TSN acknowledgement."
    received_tsn: int
    "Our own: everything up to it has arrived."
    peer_window: int
    "The peer's last advertised receiver window."
    reset_number: int
    "The number that our next stream reset request would have."
    peer_reset_number: int
    "The number of the peer's last request; its first TSN less one if it made none."
    peer_inbound_streams: int = 65_535
    peer_extensions: frozenset[int] = frozenset()
    "Chunk types that the peer listed in the handshake."
    peer_forward_tsn: bool = False
    outstanding: tuple[SentChunk, ...] = ()
    queued: tuple[QueuedMessage, ...] = ()
    outbound_sequences: Mapping[int, int] = field(default_factory=dict)
    "By stream: the stream sequence number that the next ordered message has."
    inbound_sequences: Mapping[int, int] = field(default_factory=dict)
    "By stream: the stream sequence number that is expected next."
    received_ahead: tuple[int, ...] = ()
    "TSNs that have arrived beyond a gap."
    held: tuple[HeldChunk, ...] = ()
    pending_reset: OutgoingReset | None = None
    "A request of ours that is not answered."
    waiting_resets: tuple[int, ...] = ()
    "Streams that are to be reset when all that was sent on them has arrived."
    deferred_reset: OutgoingReset | None = None
    "A request of the peer's that waits for data."
    rtt_s: float | None = None

    @property
    def peer(self) -> Peer:
        """What the handshake told of the peer; I-DATA is for those who have begun with it."""
        return Peer(
            self.peer_tag,
            (self.received_tsn + 1) & WRAP,
            self.peer_window,
            self.peer_inbound_streams,
            self.peer_inbound_streams,
            self.peer_forward_tsn,
            self.peer_extensions - {Kind.I_DATA, Kind.I_FORWARD_TSN},
        )

    @property
    def numbers(self) -> Numbers:
        """Where the two ends go on counting."""
        return Numbers(
            self.local_tag,
            (self.acked_tsn + 1) & WRAP,
            (self.received_tsn + 1) & WRAP,
            self.reset_number,
            (self.peer_reset_number + 1) & WRAP,
        )


def restore(snapshot: Snapshot, sender: Sender, receiver: Receiver, resets: StreamResets, now: float) -> None:
    """Put the two halves, new ones, into the state of the snapshot."""
    _restore_sender(snapshot, sender, now)
    receiver.restore(
        snapshot.received_ahead,
        snapshot.inbound_sequences,
        [(c.flags, c.tsn, c.stream_id, c.sequence, c.ppid, c.payload) for c in snapshot.held],
    )
    incoming, outgoing = resets.incoming, resets.outgoing
    incoming.deferred = snapshot.deferred_reset
    incoming.answered(Result.PERFORMED if snapshot.deferred_reset is None else Result.IN_PROGRESS)
    resets.ask(snapshot.waiting_resets)
    if snapshot.pending_reset is not None:
        for stream_id in snapshot.pending_reset.stream_ids:
            sender.queue.stream(stream_id).resetting = True
        outgoing.request = snapshot.pending_reset
        outgoing.timer.start(now, sender.rtt.timeout_s)


def _restore_sender(snapshot: Snapshot, sender: Sender, now: float) -> None:
    """Each chunk becomes a message of its own, with the flags that it has."""
    queue, outstanding = sender.queue, sender.outstanding
    chunks = {chunk.tsn: chunk for chunk in snapshot.outstanding}
    if snapshot.rtt_s is not None:
        sender.rtt.sample(snapshot.rtt_s, now)
    for tsn in range(outstanding.next_tsn, extended(snapshot.next_tsn, outstanding.next_tsn)):
        chunk = chunks.get(tsn & WRAP)
        if chunk is None:  # acknowledged and forgotten, or never to be sent
            chunk = SentChunk(tsn & WRAP, 0, 0, 0, 0, b"", acked=True)
        message = Message.taken_over(
            queue.stream(chunk.stream_id), chunk.ppid, chunk.payload, chunk.flags, chunk.sequence
        )
        outstanding.append(message, 1, len(chunk.payload))
        message.sent = message.size
        if chunk.acked:
            outstanding.sack(tsn, tsn)
        elif chunk.abandoned:
            sender.abandonment.abandon(message)
            sender.abandonment.abandoned.clear()
            queue.has_limited = True
        elif not chunk.in_flight:
            outstanding.lose(tsn, tsn)
    if not outstanding.is_empty:
        sender.recovery.sent(outstanding.cumulative + 1, outstanding.next_tsn - 1, now)
    for stream_id, sequence in snapshot.outbound_sequences.items():
        queue.stream(stream_id).next_sequence = sequence
