"""One SCTP association, sans-IO: what a transport drives.

The contract. The caller owns the clock (``now``, seconds of one monotonic clock), the socket and the
encryption::

    association = Association(AssociationConfig(...), is_client=..., random=os.urandom, now=now)
    association.connect(now)                   # both ends may: collision is handled

    # for each batch that the socket gave (one train, or one packet):
    association.receive_packets(lambda: SSL_read(ssl, association.inbox, association.inbox_size), now)
    # until the read gives 0 or less; never raises for what a peer sent: dropped and counted
    association.end_of_batch(now)              # decides on the SACK; drained=False if more is read at once

    # after any call into it, in this order:
    while (train := association.write(now)) is not None:              # as often as the caller likes in a turn
        # train.count packets of train.packet_size bytes in association.outbox, the last may be shorter:
        # seal each, send all of them at once
    for event in association.take_events(): ...
    due = association.next_timer()             # call handle_timer(now) then; None: nothing is due

``on_message(stream_id, ppid, payload)`` may be set: messages then come by it, from within `receive_packets`,
instead of as `MessageReceived`; while other events wait to be taken they join these, so that order holds. It
must not call back into the association, but for `send`.

`write()` gives control packets first. Nothing but `write()` touches the outbox, nothing but the caller the
inbox. `receive_packet` and `receive_packets` are attributes, to be looked up for each batch: others serve
from the handshake on.

Sizes are those of SCTP packets: `discover_packet_size` looks for the largest (RFC 8899), `set_packet_size`
says that the path or the layers below have changed, `Train.is_probe` marks packets that may be too large.
Windows: the peer is told ``receive_window``, what the socket holds, and less when unfinished messages come
near ``receive_memory``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from p2pshare.rtc.sctp.config import AssociationConfig
from p2pshare.rtc.sctp.control import ControlQueue
from p2pshare.rtc.sctp.dispatch import Dispatch
from p2pshare.rtc.sctp.events import (
    AssociationEvent,
    BytesSent,
    CloseReason,
    Established,
    MessageAbandoned,
    MessageReceived,
    PacketSizeChanged,
    PeerResponsive,
    PeerUnresponsive,
    Restarted,
)
from p2pshare.rtc.sctp.handshake import Handshake, Numbers, Peer
from p2pshare.rtc.sctp.heartbeat import Heartbeat
from p2pshare.rtc.sctp.lifecycle import Lifecycle
from p2pshare.rtc.sctp.memory import allocate, buffer_at
from p2pshare.rtc.sctp.packet import COMMON_HEADER, Kind, encode_chunk
from p2pshare.rtc.sctp.pmtu import PacketSizeSearch
from p2pshare.rtc.sctp.probing import Probing
from p2pshare.rtc.sctp.reconfig import IncomingResets, OutgoingResets
from p2pshare.rtc.sctp.resets import StreamResets
from p2pshare.rtc.sctp.rx.receiver import Receiver
from p2pshare.rtc.sctp.snapshot import Snapshot, restore
from p2pshare.rtc.sctp.state import State
from p2pshare.rtc.sctp.stats import AssociationStats, Counters
from p2pshare.rtc.sctp.tx import by_distance
from p2pshare.rtc.sctp.tx.congestion import CongestionControl
from p2pshare.rtc.sctp.tx.message import Message
from p2pshare.rtc.sctp.tx.outbox import Outbox, Train
from p2pshare.rtc.sctp.tx.rto import RoundTripTime
from p2pshare.rtc.sctp.tx.send_queue import SendQueue
from p2pshare.rtc.sctp.tx.sender import Sender

_INBOX_SIZE = 1 << 16
_UNVERIFIED = 12
_BLACK_HOLE_TIMEOUTS = 2
_PACKET_AT_LEAST = 512
_MAY_SEND = frozenset({State.CLOSED, State.COOKIE_WAIT, State.COOKIE_ECHOED, State.ESTABLISHED})


class Association:
    """One association, from before its handshake until it is closed."""

    def __init__(
        self,
        config: AssociationConfig,
        *,
        is_client: bool,
        random: Callable[[int], bytes],
        now: float,
        congestion: CongestionControl | None = None,
    ) -> None:
        """``random`` gives so many unpredictable bytes; ``congestion`` replaces what ``config`` says."""
        self.config = config
        self.is_client = is_client
        "Which end this is, for who reads a log: the handshake is the same for both."
        self._random = random
        self.inbox_size = _INBOX_SIZE
        self.inbox = allocate(_INBOX_SIZE)
        self._view = buffer_at(self.inbox, _INBOX_SIZE)
        self._outbox = Outbox(
            config.max_train_bytes + config.max_packet_size, config.local_port, config.remote_port
        )
        self.outbox = self._outbox.memory
        self.outbox_size = self._outbox.size
        self.on_message: Callable[[int, int, bytes], None] | None = None
        self._counters = Counters()
        self._events: list[AssociationEvent] = []
        self._rtt = RoundTripTime(config)
        self._queue = SendQueue(config.urgent_streams, config.receive_window)
        self._packet_size = config.initial_packet_size & ~3
        self._congestion = congestion or by_distance.make(config, self._packet_size - 28, random)
        self._heartbeat = Heartbeat(config, random, now)
        self._control = ControlQueue(self._outbox, config.local_port, config.remote_port, self._counters)
        self._lifecycle = Lifecycle(
            config,
            Handshake(config, random),
            self._control,
            self._rtt,
            self._counters,
            self._emit,
            self._on_established,
        )
        self._probing = Probing(
            self._outbox, self._heartbeat, PacketSizeSearch(self._packet_size), self._emit
        )
        self._sender: Sender | None = None
        self._receiver: Receiver | None = None
        self._resets: StreamResets | None = None
        self._dispatch = Dispatch(
            config, self._view, self._lifecycle, self._control, self._heartbeat, self._counters
        )
        self.receive_packet: Callable[[int, float], None] = self._receive_any
        "Take the packet of ``size`` bytes in ``inbox``. To be looked up for each batch: it changes."
        self.receive_packets: Callable[[Callable[[], int], float], int] = self._receive_all
        "Take what ``read()`` puts into ``inbox``, until it gives 0 or less; returns that. It changes, too."
        self._waiting_resets: list[int] = []

    # Life

    @property
    def state(self) -> State:
        """Where in its life it is."""
        return self._lifecycle.state

    def connect(self, now: float) -> None:
        """Begin the handshake; both ends may."""
        self._heartbeat.heard_at = now
        self._lifecycle.connect(now)

    def shutdown(self, now: float) -> None:
        """Close once everything queued has arrived at the peer; `send` is over."""
        self._lifecycle.shutdown()
        self._advance(now)

    def abort(self, reason: str = "") -> None:
        """Close at once; the ABORT goes out with the next `write()`."""
        self._lifecycle.abort(reason)

    def _on_established(self, peer: Peer, is_restart: bool, now: float) -> None:
        if is_restart:
            for message in self._queue.restart():
                unsent = message.size - message.sent
                self._emit(MessageAbandoned(message.stream.id, message.ppid, unsent))
        own, first = self._lifecycle.handshake, peer.initial_tsn
        self._set_up(peer, Numbers(own.tag, own.initial_tsn, first, own.initial_tsn, first), now)
        self._emit(Restarted() if is_restart else self._established())

    def _established(self) -> Established:
        peer = self._lifecycle.peer
        assert peer is not None
        return Established(min(self.config.max_streams, peer.inbound_streams), self._queue.interleaved)

    def _set_up(self, peer: Peer, numbers: Numbers, now: float) -> None:
        """Make the two halves for a peer that is known now."""
        config = self.config
        interleaved = {Kind.I_DATA, Kind.I_FORWARD_TSN} <= peer.extensions and config.interleaving
        self._outbox.set_tag(peer.tag)
        sender = self._sender = Sender(
            config,
            self._outbox,
            self._queue,
            self._congestion,
            self._rtt,
            self._counters,
            numbers.next_tsn,
            peer.window,
            now,
        )
        sender.set_interleaved(interleaved)
        sender.set_packet_size(self._packet_size)
        self._queue.open_bytes_limit = max(peer.window // 2, 1)
        header = COMMON_HEADER.pack(config.remote_port, config.local_port, numbers.tag, 0)[:8]
        receiver = self._receiver = Receiver(
            config,
            self.inbox,
            self._view,
            header,
            interleaved,
            numbers.peer_tsn,
            self._deliver,
            self._dispatch.packet,
            self._counters,
        )
        if self.is_peer_ours:
            self.trust_peer()
        self.receive_packet, self.receive_packets = receiver.receive, receiver.receive_all
        self._heartbeat.heard_at = now
        self._resets = StreamResets(
            sender,
            receiver,
            self._control,
            self._emit,
            IncomingResets(numbers.peer_reset_number),
            OutgoingResets(numbers.reset_number, config.rto_max_s),
        )
        self._resets.ask(self._waiting_resets)
        self._waiting_resets.clear()
        self._dispatch.set_up(sender, receiver, self._resets, self._on_heartbeat_ack)

    @classmethod
    def take_over(
        cls,
        snapshot: Snapshot,
        config: AssociationConfig,
        *,
        is_client: bool,
        random: Callable[[int], bytes],
        now: float,
        congestion: CongestionControl | None = None,
    ) -> Association:
        """Go on, established, from the state of another stack; the peer sees nothing of it."""
        association = cls(config, is_client=is_client, random=random, now=now, congestion=congestion)
        association._take_over(snapshot, now)
        return association

    def _take_over(self, snapshot: Snapshot, now: float) -> None:
        self._lifecycle.take_over(snapshot.peer, snapshot.local_tag)
        self._set_up(snapshot.peer, snapshot.numbers, now)
        assert self._sender is not None
        assert self._receiver is not None
        assert self._resets is not None
        restore(snapshot, self._sender, self._receiver, self._resets, now)
        for queued in snapshot.queued:
            self.send(
                queued.stream_id,
                queued.ppid,
                queued.payload,
                ordered=queued.ordered,
                max_retransmits=queued.max_retransmits,
                lifetime_s=queued.lifetime_s,
                now=now,
            )
        self._advance(now)

    # Receiving

    def _receive_any(self, size: int, now: float) -> None:
        """`receive_packet` while no data may come."""
        self._dispatch.packet(size, _UNVERIFIED, now)

    def _receive_all(self, read: Callable[[], int], now: float) -> int:
        """`receive_packets` while no data may come; a packet may change that."""
        while (size := read()) > 0:
            self.receive_packet(size, now)
        return size

    def end_of_batch(self, now: float, *, drained: bool = True) -> None:
        """All packets of one read from the socket were given; ``drained``: no other follows at once."""
        receiver = self._receiver
        if receiver is None:
            return
        if self._lifecycle.state is State.GONE:
            self.receive_packet, self.receive_packets = self._receive_any, self._receive_all
            return
        receiver.end_of_batch(drained)
        if receiver.is_sack_due or self._dispatch.was_heard:
            self._dispatch.was_heard = False
            heartbeat = self._heartbeat
            heartbeat.heard_at = now
            if heartbeat.is_unresponsive:
                heartbeat.is_unresponsive = False
                self._emit(PeerResponsive())
        self._advance(now)

    @property
    def is_sack_due(self) -> bool:
        """The peer waits for an acknowledgement: the next `write()` has it."""
        return self._receiver is not None and self._receiver.is_sack_due

    def _deliver(self, stream_id: int, ppid: int, payload: bytes) -> None:
        counters = self._counters
        counters.messages_received += 1
        counters.bytes_received += len(payload)
        if self.on_message is not None and not self._events:
            self.on_message(stream_id, ppid, payload)
        elif self._lifecycle.state is not State.GONE:  # which the inlet hears of at the end of a batch
            self._events.append(MessageReceived(stream_id, ppid, payload))

    def _advance(self, now: float) -> None:
        """Go on with what waits for data to arrive."""
        sender, receiver, resets = self._sender, self._receiver, self._resets
        if sender is None or receiver is None or resets is None:
            return
        resets.advance(now)
        if self._lifecycle.state is not State.ESTABLISHED:
            is_drained = sender.outstanding.is_empty and not self._queue.queued
            self._lifecycle.advance(is_drained, receiver.cumulative, now)

    def _on_heartbeat_ack(self, rtt_s: float, probe_size: int, now: float) -> None:
        if not probe_size:
            self._rtt.sample(rtt_s, now)
        elif self._probing.acked(probe_size, now):
            self._apply_packet_size(self._probing.search.size)
            self._emit(PacketSizeChanged(self._packet_size))

    # Sending

    @property
    def may_have_more(self) -> bool:
        """Whether `write()`, which has just given a train, may have another.

        Asked so that who only receives need not look for data behind each SACK. Probes are due by the timer.
        """
        sender = self._sender
        return (
            sender is None
            or not sender.outstanding.is_empty
            or self._queue.queued > 0
            or len(self._control) > 0
        )

    @property
    def has_unsent(self) -> bool:
        """Data waits for its turn, or to be sent again."""
        return self._queue.queued > 0 or (self._sender is not None and bool(self._sender.outstanding.lost))

    def send(
        self,
        stream_id: int,
        ppid: int,
        payload: bytes,
        *,
        ordered: bool = True,
        max_retransmits: int | None = None,
        lifetime_s: float | None = None,
        now: float,
    ) -> None:
        """Queue a message; it leaves with `write()`.

        Raises:
            ValueError: If the payload is empty (RFC 8831 section 6.6 has PPIDs for empty messages, of one
            byte)
                or larger than the peer takes, or the stream does not exist.
            RuntimeError: If the association is closing or closed.
        """
        if not payload or len(payload) > self.config.max_message_size:
            raise ValueError(
                f"a message of {len(payload):,} bytes, not 1 to {self.config.max_message_size:,}"
            )
        if not 0 <= stream_id < self.config.max_streams:
            raise ValueError(f"stream {stream_id} of {self.config.max_streams}")
        if self._lifecycle.state not in _MAY_SEND:
            raise RuntimeError("the association is closing or closed")
        if not self._may_abandon():
            max_retransmits = lifetime_s = None
        message = Message(
            self._queue.stream(stream_id),
            ppid,
            payload,
            not ordered,
            max_retransmits,
            None if lifetime_s is None else now + lifetime_s,
        )
        self._queue.append(message)

    def _may_abandon(self) -> bool:
        peer = self._lifecycle.peer
        return self.config.partial_reliability and (peer is None or peer.forward_tsn)

    def buffered(self, stream_id: int) -> int:
        """Bytes of a stream's messages that were not handed to the network yet."""
        stream = self._queue.streams.get(stream_id)
        return 0 if stream is None else stream.buffered

    def reset_streams(self, stream_ids: Iterable[int], now: float) -> None:
        """Begin outgoing streams anew once all sent on them has arrived: `StreamsReset` says when."""
        if self._resets is None:
            self._waiting_resets += stream_ids
        else:
            self._resets.ask(stream_ids)
            self._resets.advance(now)

    def write(self, now: float) -> Train | None:
        """Build the next train in ``outbox``; None when nothing may be sent now."""
        sender = self._sender
        lifecycle = self._lifecycle
        sack = b""
        if sender is not None and lifecycle.state is not State.GONE:
            receiver = self._receiver
            if receiver is not None and receiver.is_sack_due and lifecycle.may_receive:
                sack = receiver.sack()
            if self._queue.has_limited:
                skip = sender.take_skip()
                if skip is not None:
                    self._control.send(skip)
        train = self._control.write(self._packet_size, sack)
        if train is not None or sender is None or not lifecycle.may_transmit:
            return train
        probe = self._probing.write(self._rtt, now) if lifecycle.is_up else None
        if probe is not None:
            self._counters.packets_sent += 1
            return probe
        return sender.write(now)

    @property
    def is_peer_ours(self) -> bool:
        """The peer has said in the handshake that it takes long trains and acknowledges them at once.

        It lists PAD among its extensions (RFC 4820 asks nobody to, and no other stack is known to).
        """
        peer = self._lifecycle.peer
        return peer is not None and Kind.PAD in peer.extensions

    def trust_peer(self) -> None:
        """Treat the peer as one of ours, though another stack made the handshake for one of the two."""
        if self._sender is not None and self._receiver is not None:
            self._sender.trust()
            self._receiver.trust()

    # Packet size

    def set_packet_size(self, size: int) -> None:
        """SCTP packets have at most ``size`` bytes from now on: the path or the layers below have changed.

        Raises ValueError for less than 512, which no path may have.
        """
        if size < _PACKET_AT_LEAST:
            raise ValueError(f"packets of {size} bytes")
        self._probing.search.rebase(size & ~3)
        self._apply_packet_size(size)

    def _apply_packet_size(self, size: int) -> None:
        self._packet_size = size & ~3
        if self._sender is not None:
            self._sender.set_packet_size(self._packet_size)

    def discover_packet_size(self, candidates: Iterable[int]) -> None:
        """Find the largest of these SCTP packet sizes that the path takes: `PacketSizeChanged` tells."""
        self._probing.search.start(size for size in candidates if size <= self.config.max_packet_size)

    def probe(self, size: int) -> None:
        """Send one packet of this size to see whether it comes through: `ProbeAcked` or `ProbeLost`."""
        self._probing.ask(size)

    def probe_failed(self, now: float) -> None:
        """The network refused the probe that `write()` gave (EMSGSIZE)."""
        self._probing.failed(now, is_certain=True)

    # Time

    def next_timer(self) -> float | None:
        """When `handle_timer` has something to do; None: never."""
        due = self._lifecycle.next_timer()
        if self._sender is None or self._resets is None or self._lifecycle.state is State.GONE:
            return due
        for other in (
            self._heartbeat.next_timer(),
            self._sender.next_timer(),
            self._probing.next_timer(),
            self._resets.outgoing.timer.due,
        ):
            if other is not None and (due is None or other < due):
                due = other
        return due

    def handle_timer(self, now: float) -> None:
        """Do what is due. May be called early; then nothing happens."""
        lifecycle, sender, resets = self._lifecycle, self._sender, self._resets
        receiver = self._receiver
        lifecycle.on_timer(0 if receiver is None else receiver.cumulative, now)
        if sender is None or resets is None or lifecycle.state is State.GONE:
            return
        sender.on_timer(now)
        if self._rtt.backoff >= _BLACK_HOLE_TIMEOUTS and self._probing.search.black_hole(now):
            self._apply_packet_size(self._probing.search.size)
            self._emit(PacketSizeChanged(self._packet_size))
        self._probing.on_timer(now)
        resets.on_timer(now)
        self._watch_peer(now)
        self._advance(now)

    def _watch_peer(self, now: float) -> None:
        heartbeat = self._heartbeat
        # Sums, as in `next_timer`: the difference may be rounded to less.
        if now >= heartbeat.heard_at + self.config.failed_after_s:
            self._lifecycle.close(CloseReason.PEER_SILENT)
            return
        if not heartbeat.is_unresponsive and now >= heartbeat.heard_at + self.config.unresponsive_after_s:
            heartbeat.is_unresponsive = True
            self._emit(PeerUnresponsive(heartbeat.silence(now)))
        if heartbeat.is_request_due(now):
            self._control.send(encode_chunk(Kind.HEARTBEAT, heartbeat.request(now)))

    # What happened

    def _emit(self, event: AssociationEvent) -> None:
        self._events.append(event)

    def take_events(self) -> list[AssociationEvent]:
        """What has happened since the last call."""
        sender = self._sender
        if sender is not None:
            accepted = sender.trains.accepted
            if accepted:
                self._events += [BytesSent(stream_id, size) for stream_id, size in accepted.items()]
                accepted.clear()
            abandoned = sender.abandonment.abandoned
            if abandoned:
                self._events += [MessageAbandoned(m.stream.id, m.ppid, unsent) for m, unsent in abandoned]
                abandoned.clear()
        events, self._events = self._events, []
        return events

    def set_receive_window(self, size: int) -> None:
        """The socket's buffer has changed: so many bytes may be on the way to us from now on."""
        if self._receiver is not None:
            self._receiver.set_window(size)

    def stats(self) -> AssociationStats:
        """A snapshot of what was counted."""
        sender = self._sender
        return AssociationStats.of(
            self._counters,
            rtt_s=self._rtt.smoothed_s,
            min_rtt_s=self._rtt.min_s,
            congestion_window=self._congestion.window,
            flight=0 if sender is None else sender.outstanding.flight,
            peer_window=0 if sender is None else sender.peer_window,
            packet_size=self._packet_size,
            queued=self._queue.queued,
            interleaving=self._queue.interleaved,
        )
