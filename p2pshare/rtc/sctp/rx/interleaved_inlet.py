"""The hot path for I-DATA chunks, see `inlet.py`."""

from __future__ import annotations

from collections.abc import Callable

from p2pshare.rtc.sctp.memory import Buffer, Pointer, extend_crc
from p2pshare.rtc.sctp.packet import I_DATA_HEADER, I_DATA_OVERHEAD, WRAP, Flag, Kind
from p2pshare.rtc.sctp.rx.inlet import COMMON, DONE, NEVER, PLACE, Inlet
from p2pshare.rtc.sctp.rx.interleaved import Assembly, InterleavedReassembly
from p2pshare.rtc.sctp.rx.streams import InboundStreams
from p2pshare.rtc.sctp.stats import Counters, Drop


class InterleavedInlet(Inlet):
    """I-DATA chunks. Messages under way stay with the reassembly; one of them is being carried on."""

    _overhead = I_DATA_OVERHEAD

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
        reassembly: InterleavedReassembly,
    ) -> None:
        super().__init__(inbox, view, header, streams, deliver, late, rest, counters)
        self._reassembly = reassembly
        self._assembly: Assembly | None = None
        self._part_size = 0

    @property
    def held(self) -> int:
        """Bytes of the message under way that the reassembly does not know of yet."""
        assembly = self._assembly
        return 0 if assembly is None else (len(assembly.parts) - assembly.next) * self._part_size

    @property
    def pieces(self) -> int:
        """Its fragments that the reassembly does not know of yet."""
        assembly = self._assembly
        return 0 if assembly is None else len(assembly.parts) - assembly.next

    def settle(self) -> None:
        """Enter in the message under way what was added to it."""
        assembly = self._assembly
        if assembly is not None:
            count = len(assembly.parts)
            fresh = count - assembly.next
            size = fresh * self._part_size
            assembly.next = count
            assembly.size += size
            self._reassembly.held += size
            self._reassembly.pieces += fresh
            self._assembly = None
        self._middle = NEVER

    def _take_other(self, size: int, header: bytes, checksum: int, word: int, tsn: int, place: bytes) -> int:
        kind_and_flags = word >> 16
        flags = kind_and_flags & 0xFF
        length = word & 0xFFFF
        if kind_and_flags >> 8 != Kind.I_DATA or flags > 15 or header != self._header or length <= 20:
            return COMMON
        end = COMMON + ((length + 3) & ~3)
        if tsn != self.expected:
            return self._take_late(size, end, checksum, flags, tsn, place, length)
        if end != size and not self.is_padding(end, size):
            return self._take_several(size, checksum) if flags & 3 == 3 and end < size else COMMON
        begins = flags & Flag.BEGINS
        unordered = flags & Flag.UNORDERED
        number = int.from_bytes(self._view[28:32], "big")
        self.settle()
        reassembly = self._reassembly
        assembly = reassembly.find(place, unordered)
        if begins:
            stream_id, zero, mid = PLACE.unpack(place)
            if assembly is not None or zero or (not unordered and self._streams.is_over(stream_id, mid)):
                return COMMON
        elif assembly is None or number != assembly.next or assembly.later:
            return COMMON
        if extend_crc(self._state, self.covered(size)) != checksum:
            self._counters.dropped[Drop.CHECKSUM] += 1
            return DONE
        payload = self._view[32 : COMMON + length]
        self.expected = (tsn + 1) & WRAP
        if assembly is None:
            if flags & Flag.ENDS:
                if unordered:
                    self._deliver(stream_id, number, payload)
                else:
                    self._streams.complete(stream_id, mid, number, payload)
                return DONE
            assembly = reassembly.begin(stream_id, mid, unordered)
            assembly.ppid = number
        assembly.parts.append(payload)
        assembly.next += 1
        assembly.size += len(payload)
        reassembly.held += len(payload)
        reassembly.pieces += 1
        if flags & Flag.ENDS:
            reassembly.complete(assembly)
            return DONE
        self._assembly = assembly
        self._part_size = length - 20
        self._place = place
        self._append = assembly.parts.append
        self._expect_alike(kind_and_flags, length, size)
        return DONE

    def _take_several(self, size: int, checksum: int) -> int:
        """A packet of several whole messages."""
        if extend_crc(self._state, self.covered(size)) != checksum:
            self._counters.dropped[Drop.CHECKSUM] += 1
            return DONE
        view, unpack, streams = self._view, I_DATA_HEADER.unpack_from, self._streams
        at = COMMON
        expected = self.expected
        self.shared -= 1
        while at + 20 < size:
            kind, flags, length, tsn, stream_id, _, mid, ppid = unpack(view, at)
            end = at + length
            if kind != Kind.I_DATA or tsn != expected or flags & 3 != 3 or length <= 20 or end > size:
                break
            expected = self.expected = (tsn + 1) & WRAP
            self.shared += 1
            if flags & Flag.UNORDERED:
                self._deliver(stream_id, ppid, view[at + 20 : end])
            else:
                streams.complete(stream_id, mid, ppid, view[at + 20 : end])
            at = (end + 3) & ~3
        if at >= size or self.is_padding(at, size):
            return DONE
        return at
