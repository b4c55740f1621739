"""The hot path for DATA chunks, see `inlet.py`."""

from __future__ import annotations

from p2pshare.rtc.sctp.memory import extend_crc
from p2pshare.rtc.sctp.packet import DATA_HEADER, WRAP, Flag, extended
from p2pshare.rtc.sctp.rx.inlet import COMMON, DONE, NEVER, PLACE, Inlet
from p2pshare.rtc.sctp.rx.reassembly import Segment
from p2pshare.rtc.sctp.stats import Drop


class DataInlet(Inlet):
    """DATA chunks."""

    is_open = False
    "A message is under way."
    _begun_at = 0
    _measured = 0
    "Bytes of its fragments but for the last ones, which are of one size."
    _measured_count = 0

    @property
    def held(self) -> int:
        """Bytes of the message under way."""
        if not self.is_open:
            return 0
        parts = self._parts
        return self._measured + (len(parts) - self._measured_count) * len(parts[-1])

    @property
    def pieces(self) -> int:
        """Its fragments."""
        return len(self._parts) if self.is_open else 0

    def resume(self, segment: Segment) -> None:
        """Carry on this message."""
        stream_id, sequence, ppid, unordered = segment.key
        self.is_open = True
        self._place = PLACE.pack(stream_id, sequence, ppid)
        self._unordered = unordered
        self._parts = segment.parts
        self._append = segment.parts.append
        self._measured = segment.size - len(segment.parts[-1])
        self._measured_count = len(segment.parts) - 1
        self._begun_at = segment.first & WRAP

    def settle(self, cumulative: int) -> Segment | None:
        """Give back the message under way, which ends at this TSN."""
        if not self.is_open:
            return None
        size = self.held
        self.is_open = False
        self._middle = NEVER
        stream_id, sequence, ppid = PLACE.unpack(self._place)
        key = (stream_id, sequence, ppid, self._unordered)
        first = extended(self._begun_at, cumulative)
        return Segment(first, cumulative, Flag.BEGINS, key, self._parts, size)

    def _take_other(self, size: int, header: bytes, checksum: int, word: int, tsn: int, place: bytes) -> int:
        flags = word >> 16
        length = word & 0xFFFF
        if flags > 15 or header != self._header or length <= 16:
            return COMMON
        end = COMMON + ((length + 3) & ~3)
        if tsn != self.expected:
            return self._take_late(size, end, checksum, flags, tsn, place, length)
        if end != size and not self.is_padding(end, size):
            return self._take_several(size, checksum) if flags & 3 == 3 and end < size else COMMON
        begins = flags & Flag.BEGINS
        if begins:
            if self.is_open:
                return COMMON
        elif not self.is_open or place != self._place or flags & Flag.UNORDERED != self._unordered:
            return COMMON
        if extend_crc(self._state, self.covered(size)) != checksum:
            self._counters.dropped[Drop.CHECKSUM] += 1
            return DONE
        view = self._view
        payload = view[28 : COMMON + length]
        self.expected = (tsn + 1) & WRAP
        if flags & Flag.ENDS:
            if not begins:
                self._append(payload)
                payload = b"".join(self._parts)
                self.is_open = False
                self._middle = NEVER
            self._complete(place, flags, payload)
            return DONE
        if begins:
            self.is_open = True
            self._place = place
            self._unordered = flags & Flag.UNORDERED
            self._parts = [payload]
            self._append = self._parts.append
            self._measured = self._measured_count = 0
            self._begun_at = tsn
        else:
            if len(payload) != len(self._parts[-1]):
                self._measured, self._measured_count = self.held, len(self._parts)
            self._append(payload)
        self._expect_alike(flags, length, size)
        return DONE

    def _complete(self, place: bytes, flags: int, payload: bytes) -> None:
        stream_id, sequence, ppid = PLACE.unpack(place)
        if flags & Flag.UNORDERED:
            self._deliver(stream_id, ppid, payload)
        else:
            self._streams.complete(stream_id, sequence, ppid, payload)

    def _take_several(self, size: int, checksum: int) -> int:
        """A packet of several whole messages."""
        if extend_crc(self._state, self.covered(size)) != checksum:
            self._counters.dropped[Drop.CHECKSUM] += 1
            return DONE
        view, unpack, streams = self._view, DATA_HEADER.unpack_from, self._streams
        at = COMMON
        expected = self.expected
        self.shared -= 1
        while at + 16 < size:
            kind, flags, length, tsn, stream_id, sequence, ppid = unpack(view, at)
            end = at + length
            if kind or tsn != expected or flags & 3 != 3 or length <= 16 or end > size:
                break
            expected = self.expected = (tsn + 1) & WRAP
            self.shared += 1
            if flags & Flag.UNORDERED:
                self._deliver(stream_id, ppid, view[at + 16 : end])
            else:
                streams.complete(stream_id, sequence, ppid, view[at + 16 : end])
            at = (end + 3) & ~3
        if at >= size or self.is_padding(at, size):
            return DONE
        return at
