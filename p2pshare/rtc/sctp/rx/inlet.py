"""The path that nearly every packet takes: data in order, read and checked where it lies.

This is the receiver's hot path. A packet that carries on the message under way, of the same size as the one
before, costs one unpack (110 ns), one checksum (140), one comparison of it (40) and one copy of its payload
(90), 0.5 us in all; what can be counted later is counted later. Other packets of data go the longer way round
by `_take_other`; whatever else comes goes to ``rest``, which reads it chunk by chunk. Nothing changes before
a packet's checksum is found right.

The inlet runs ahead of `DataTracker` and the reassembly: `Receiver.settle` hands over what it took, and
`Receiver.resume` tells it where to go on. ``expected`` is -1 while it has to keep out of the way (a gap).
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable

from p2pshare.rtc.sctp.memory import Buffer, Pointer, buffer_at, crc_of, extend_crc, words_of
from p2pshare.rtc.sctp.packet import DATA_OVERHEAD, I_DATA_OVERHEAD, Flag, Kind
from p2pshare.rtc.sctp.rx.streams import InboundStreams
from p2pshare.rtc.sctp.stats import Counters, Drop

_COVERS_AT_MOST = 4_096

COMMON = 12
"Bytes of the common header."
PACKET = struct.Struct("!8s4xII8s")
"Ports and tag, first word of the chunk, TSN, and what names its message: stream and number."
CHECKSUM = 2
"Which word of a packet its checksum is."
PLACE = struct.Struct("!HHI")
NEVER = -1
DONE = 0
"A packet was dealt with; any other result is the offset of the first chunk that was not."


class Inlet(ABC):
    """What both kinds of data have in common."""

    _overhead = DATA_OVERHEAD

    def __init__(
        self,
        inbox: Pointer,
        view: Buffer,
        header: bytes,
        streams: InboundStreams,
        deliver: Callable[[int, int, bytes], None],
        late: Callable[[int, int, int, int, int, bytes], None],
        rest: Callable[[int, int, float], None],
        counters: Counters,
    ) -> None:
        self._inbox = inbox
        self._view = view
        self._words = words_of(view)
        self._header = header
        "Ports and verification tag, as they have to be."
        self._state = crc_of(header + bytes(4))
        self._streams = streams
        self._deliver = deliver
        self._late = late
        "Takes a chunk that is not in order, see `Receiver.on_data`."
        self._rest = rest
        "Takes the size of a packet, where in it to begin, and ``now``."
        self._counters = counters
        self.shared = 0
        "TSNs beyond the first of each packet that was taken here: packets are counted by their TSNs."
        self._covers: dict[int, Buffer] = {}
        self.expected = NEVER
        "The next TSN in order, as on the wire."
        self._middle = NEVER
        "First word of a chunk that carries on the message under way as the last one did."
        self._size = 0
        "Size of such a packet."
        self._place = b""
        self._covered: Buffer = b""
        self._parts: list[bytes] = []
        self._append = self._parts.append
        self._unordered = 0

    def covered(self, size: int) -> Buffer:
        """What the checksum of a packet of this size covers, behind the common header."""
        cover = self._covers.get(size)
        if cover is None:
            if len(self._covers) >= _COVERS_AT_MOST:
                self._covers.clear()
            cover = self._covers[size] = buffer_at(self._inbox + COMMON, size - COMMON)
        return cover

    def is_padding(self, end: int, size: int) -> bool:
        """Whether a packet is filled up with one PAD chunk from ``end`` on (RFC 4820)."""
        rest = size - end
        view = self._view
        return rest >= 4 and view[end] == b"\x84" and int.from_bytes(view[end + 2 : end + 4], "big") == rest

    def receive_all(self, read: Callable[[], int], now: float) -> int:
        """Take the packets that ``read()`` puts into the inbox, until it returns no size but 0 or less.

        Returns that. With I-DATA the fragment's number needs no look: fragments of one message with
        consecutive TSNs are consecutive ones.
        """
        view, words, overhead = self._view, self._words, self._overhead
        unpack, own, state = PACKET.unpack_from, self._header, self._state
        while True:
            middle, expected, alike, current = self._middle, self.expected, self._size, self._place
            covered, append = self._covered, self._append
            while (size := read()) > 0:
                header, word, tsn, place = unpack(view)
                if (
                    word != middle
                    or tsn != expected
                    or size != alike
                    or place != current
                    or header != own
                    or words[CHECKSUM] != extend_crc(state, covered)
                ):
                    break
                append(view[overhead:size])
                # Unmasked, which saves 15 ns: the one TSN in four billion behind the wrap goes the long way.
                expected = tsn + 1
            self.expected = expected
            if size <= 0:
                return size
            self._take(size, header, word, tsn, place, now)

    def receive(self, size: int, now: float) -> None:
        """Take the packet of this size that lies in the inbox."""
        header, word, tsn, place = PACKET.unpack_from(self._view)
        self._take(size, header, word, tsn, place, now)

    def _take(self, size: int, header: bytes, word: int, tsn: int, place: bytes, now: float) -> None:
        """The long way, for any packet."""
        start = COMMON
        if word >> 24 != Kind.SACK:  # which a sender hears all the time
            start = self._take_other(size, header, self._words[CHECKSUM], word, tsn, place)
        if start != DONE:
            self._rest(size, start, now)

    @abstractmethod
    def _take_other(self, size: int, header: bytes, checksum: int, word: int, tsn: int, place: bytes) -> int:
        """Take another packet of data; returns `DONE` or where its rest begins."""

    def _take_late(
        self, size: int, end: int, checksum: int, flags: int, tsn: int, place: bytes, length: int
    ) -> int:
        """A packet of one chunk that is not in order: half of them at a percent of loss."""
        if end != size and not self.is_padding(end, size):
            return COMMON
        self._counters.packets_received += 1
        if extend_crc(self._state, self.covered(size)) != checksum:
            self._counters.dropped[Drop.CHECKSUM] += 1
            return DONE
        view, begin = self._view, self._overhead
        stream_id, number, second = PLACE.unpack(place)
        if begin == I_DATA_OVERHEAD:  # what is the PPID in DATA is the message's identifier here
            number, second = second, int.from_bytes(view[28:32], "big")
        self._late(flags, tsn, stream_id, number, second, view[begin : COMMON + length])
        return DONE

    def halt(self) -> None:
        """Keep out of the way until the next `resume`."""
        self.expected = self._middle = NEVER

    def _expect_alike(self, kind_and_flags: int, length: int, size: int) -> None:
        """The next fragment may be taken the short way, which reads on to the end of its packet."""
        self._middle = (kind_and_flags & ~Flag.BEGINS) << 16 | length if COMMON + length == size else NEVER
        self._size = size
        self._covered = self.covered(size)
