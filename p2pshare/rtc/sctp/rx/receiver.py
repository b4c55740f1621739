"""The receiving half as a whole: takes data chunks, delivers messages, says what a SACK has to say.

When to acknowledge is measured, not taken from RFC 9260 section 6.2: when the socket is empty, at once when
there is a gap, and never held back for a timer, since a foreign sender may wait for every SACK. While more
waits in the socket, one SACK stands for up to 128 packets (each costs its sender 40 us and us 30), but for
half of what the sender has on its way at most: it is known by what emptied the socket last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from p2pshare.rtc.sctp.config import AssociationConfig
from p2pshare.rtc.sctp.memory import Buffer, Pointer
from p2pshare.rtc.sctp.packet import WRAP, ForwardTsn, IForwardTsn, encode_plain_sack, extended
from p2pshare.rtc.sctp.rx.data_inlet import DataInlet
from p2pshare.rtc.sctp.rx.data_tracker import Arrival, DataTracker
from p2pshare.rtc.sctp.rx.interleaved import InterleavedReassembly
from p2pshare.rtc.sctp.rx.interleaved_inlet import InterleavedInlet
from p2pshare.rtc.sctp.rx.reassembly import Reassembly
from p2pshare.rtc.sctp.rx.streams import InboundStreams
from p2pshare.rtc.sctp.stats import Counters, Drop

_PACKETS_PER_SACK = 16
_PACKETS_PER_SACK_AT_MOST = 128
_WINDOW_SHARE = 8
_PACKET = 1_400  # about
_PACKETS_PER_SACK_TO_FOREIGN = 6
"""Of dcsctp, which lets out at most 4 packets a SACK: with 16, Chromium sent 22 MB/s where 6 make it 28.
With 4 it sent a tenth of its packets twice."""
_WAITING_AT_MOST = 16_384
_UNFINISHED_AT_MOST = 4_096
_PIECE = 256  # bytes: fragments may on average not be smaller; each costs 50 to 500 bytes of its own
_PIECES_AT_LEAST = 4_096


class Receiver:
    """Data from the peer. ``receive_all`` is the hot path (`inlet.py`); ``rest`` takes what is not for it."""

    def __init__(
        self,
        config: AssociationConfig,
        inbox: Pointer,
        view: Buffer,
        header: bytes,
        interleaved: bool,
        initial_tsn: int,
        deliver: Callable[[int, int, bytes], None],
        rest: Callable[[int, int, float], None],
        counters: Counters,
    ) -> None:
        self._config = config
        self._counters = counters
        self._least_per_sack = self._most_per_sack = _PACKETS_PER_SACK_TO_FOREIGN
        self._packets_per_sack = _PACKETS_PER_SACK_TO_FOREIGN
        self.receive_window = config.receive_window
        self._pieces_limit = max(config.receive_memory // _PIECE, _PIECES_AT_LEAST)
        self.tracker = DataTracker(initial_tsn, config.max_out_of_order)
        self.streams = InboundStreams(deliver, WRAP if interleaved else 0xFFFF)
        self.interleaved = interleaved
        self.reassembly = Reassembly(self.streams, deliver)
        self.interleaved_reassembly = InterleavedReassembly(self.streams, deliver)
        self._data_inlet = DataInlet(inbox, view, header, self.streams, deliver, self.on_data, rest, counters)
        self._interleaved_inlet = InterleavedInlet(
            inbox,
            view,
            header,
            self.streams,
            deliver,
            self.on_data,
            rest,
            counters,
            self.interleaved_reassembly,
        )
        self._inlet: DataInlet | InterleavedInlet = (
            self._interleaved_inlet if interleaved else self._data_inlet
        )
        self.receive, self.receive_all = self._inlet.receive, self._inlet.receive_all
        self.is_sack_due = False
        "Something must be acknowledged now, whatever the batch holds."
        self._acknowledged = self.tracker.cumulative
        self.resume()

    @property
    def held(self) -> int:
        """Bytes of messages that are not delivered yet."""
        held = self.streams.held
        if self.interleaved:
            return held + self.interleaved_reassembly.held + self._interleaved_inlet.held
        return held + self.reassembly.held + self._data_inlet.held

    @property
    def _pieces(self) -> int:
        """Fragments of messages that are not complete yet."""
        if self.interleaved:
            return self.interleaved_reassembly.pieces + self._interleaved_inlet.pieces
        return self.reassembly.pieces + self._data_inlet.pieces

    @property
    def _is_crowded(self) -> bool:
        """More messages wait, for others or for their rest, than any honest peer has under way."""
        unfinished = len(self.interleaved_reassembly) if self.interleaved else len(self.reassembly)
        return unfinished > _UNFINISHED_AT_MOST or self.streams.waiting >= _WAITING_AT_MOST

    @property
    def _is_full(self) -> bool:
        """The inlet, which does not look, has to keep out of the way."""
        return (
            self.held > self._config.receive_memory or self._pieces > self._pieces_limit or self._is_crowded
        )

    @property
    def window(self) -> int:
        """What the peer is told: room in the socket, and less when memory runs short."""
        if self._pieces >= self._pieces_limit:
            return 0
        return max(0, min(self.receive_window, self._config.receive_memory - self.held))

    @property
    def cumulative(self) -> int:
        """The TSN up to which everything has arrived."""
        self._catch_up()
        return self.tracker.cumulative

    def _catch_up(self) -> None:
        expected = self._inlet.expected
        if expected >= 0:
            tracker, inlet = self.tracker, self._inlet
            fresh = (expected - tracker.cumulative - 1) & WRAP
            tracker.cumulative += fresh
            self._counters.packets_received += fresh - inlet.shared
            inlet.shared = 0

    def settle(self) -> None:
        """Take over from the inlet what it has done."""
        if self._inlet.expected < 0:
            return
        self._catch_up()
        if self.interleaved:
            self._interleaved_inlet.settle()
        else:
            segment = self._data_inlet.settle(self.tracker.cumulative)
            if segment is not None:
                self.reassembly.insert(segment)
        self._inlet.halt()

    def resume(self) -> None:
        """Let the inlet go on, unless there is a gap, or a message that never ends."""
        tracker = self.tracker
        if tracker.ahead or self._is_full:
            return
        self._inlet.expected = (tracker.cumulative + 1) & WRAP
        if not self.interleaved:
            segment = self.reassembly.take_open(tracker.cumulative)
            if segment is not None:
                self._data_inlet.resume(segment)

    # Chunks that the inlet left

    def on_data(
        self, flags: int, wire_tsn: int, stream_id: int, number: int, second: int, payload: bytes
    ) -> None:
        """Take a chunk of data, checked for its checksum and its length.

        ``number`` is the stream sequence number or the message identifier; ``second`` the PPID, or with
        I-DATA in all but a message's first fragment its number.
        """
        self.settle()
        tracker = self.tracker
        tsn, arrival = tracker.judge(wire_tsn)
        if arrival is Arrival.IN_ORDER or arrival is Arrival.AHEAD:
            if self._has_room(arrival, len(payload)):
                tracker.accept(tsn)
                if stream_id >= self._config.max_streams:
                    self._counters.dropped[Drop.STREAM] += 1
                elif self.interleaved:
                    self.interleaved_reassembly.add(flags, stream_id, number, second, payload)
                else:
                    self.reassembly.add(tsn, flags, stream_id, number, second, payload)
            else:
                self._counters.dropped[Drop.MEMORY] += 1
        else:
            self._counters.dropped[Drop.DUPLICATE if arrival is Arrival.DUPLICATE else Drop.BEYOND] += 1
        self.is_sack_due = True
        self.resume()

    def _has_room(self, arrival: Arrival, size: int) -> bool:
        """What is in order may go beyond the limit by one message, or nothing would ever be finished."""
        if self._is_crowded:
            return False
        limit, pieces_limit = self._config.receive_memory, self._pieces_limit
        if arrival is Arrival.IN_ORDER:
            limit += self._config.max_message_size
            pieces_limit += self._config.max_message_size // _PIECE
        return self.held + size <= limit and self._pieces < pieces_limit

    def on_forward_tsn(self, skip: ForwardTsn | IForwardTsn) -> None:
        """Take what the peer has given up as arrived (RFC 3758 section 3.6)."""
        self.settle()
        tracker = self.tracker
        cumulative = extended(skip.cumulative_tsn, tracker.cumulative)
        if cumulative > tracker.cumulative:
            tracker.skip_to(cumulative)
            if isinstance(skip, IForwardTsn):
                self.interleaved_reassembly.skip(skip.streams)
                for stream_id, unordered, mid in skip.streams:
                    if not unordered:
                        self.streams.skip(stream_id, mid)
            else:
                for stream_id, sequence in skip.streams:
                    self.streams.skip(stream_id, sequence)
                self.reassembly.skip_to(tracker.cumulative)
        self.is_sack_due = True
        self.resume()

    def reset_streams(self, stream_ids: tuple[int, ...]) -> None:
        """Streams begin anew, all if none is named (RFC 6525 section 5.2.2)."""
        self.settle()
        self.streams.reset(stream_ids)
        self.reassembly.reset(stream_ids, self.tracker.cumulative)
        self.interleaved_reassembly.reset(stream_ids)
        self.resume()

    def restore(
        self,
        ahead: Iterable[int],
        sequences: Mapping[int, int],
        held: Iterable[tuple[int, int, int, int, int, bytes]],
    ) -> None:
        """Go on from another stack's state: TSNs ahead, next sequence numbers, chunks as for `on_data`."""
        self.settle()
        tracker = self.tracker
        for wire_tsn in ahead:
            tsn, arrival = tracker.judge(wire_tsn)
            if arrival is Arrival.AHEAD:
                tracker.accept(tsn)
        for stream_id, sequence in sequences.items():
            self.streams.set_next(stream_id, sequence)
        for flags, wire_tsn, stream_id, sequence, ppid, payload in held:
            tsn = extended(wire_tsn, tracker.cumulative)
            self.reassembly.add(tsn, flags, stream_id, sequence, ppid, payload)
        self.resume()

    # Acknowledgements

    def end_of_batch(self, drained: bool) -> None:
        """Decide whether to acknowledge what has come since the last SACK."""
        if self._is_full:
            self.settle()
        if self.is_sack_due:
            return
        fresh = self.cumulative - self._acknowledged
        if drained:
            if fresh:
                self.is_sack_due = True
                self._packets_per_sack = max(self._least_per_sack, min(self._packets_per_sack, fresh // 2))
        elif fresh >= self._packets_per_sack:
            self.is_sack_due = True
            self._packets_per_sack = min(self._packets_per_sack * 2, self._most_per_sack)

    def trust(self) -> None:
        """The peer is one of ours: its trains do not wait for each SACK."""
        self._least_per_sack = self._packets_per_sack = _PACKETS_PER_SACK
        share = self.receive_window // (_WINDOW_SHARE * _PACKET)
        self._most_per_sack = max(_PACKETS_PER_SACK, min(share, _PACKETS_PER_SACK_AT_MOST))

    def set_window(self, size: int) -> None:
        """So many bytes may be on the way to us from now on."""
        self.receive_window = size
        self.is_sack_due = True

    def sack(self) -> bytes:
        """The SACK chunk for what has arrived."""
        self.is_sack_due = False
        self._catch_up()
        self._acknowledged = self.tracker.cumulative
        self._counters.sacks_sent += 1
        tracker = self.tracker
        if not tracker.ahead.firsts and not tracker.has_duplicates:
            return encode_plain_sack(tracker.cumulative & WRAP, self.window)
        return tracker.sack(self.window).encode()
