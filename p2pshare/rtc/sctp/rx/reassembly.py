"""Messages put together from DATA chunks, whose fragments have consecutive TSNs (RFC 9260 section 6.9).

What has arrived of a message is kept as segments without a hole; they grow at either end, merge, and leave
when they hold a whole message. The segment that ends at the cumulative TSN is the one that `inlet.py` adds to
directly.
"""

from __future__ import annotations

from collections.abc import Callable

from p2pshare.rtc.sctp.packet import Flag
from p2pshare.rtc.sctp.rx.streams import InboundStreams


class Segment:
    """Fragments of one message with consecutive TSNs, ``first`` to ``last``."""

    __slots__ = ("begins", "ends", "first", "key", "last", "parts", "size")

    def __init__(
        self, first: int, last: int, flags: int, key: tuple[int, int, int, int], parts: list[bytes], size: int
    ) -> None:
        self.first = first
        self.last = last
        self.begins = bool(flags & Flag.BEGINS)
        self.ends = bool(flags & Flag.ENDS)
        self.key = key
        "Stream id, stream sequence number, PPID and the flag for unordered: all fragments have the same."
        self.parts = parts
        self.size = size


class Reassembly:
    """Segments by where they begin and where they end."""

    def __init__(self, streams: InboundStreams, deliver: Callable[[int, int, bytes], None]) -> None:
        self._streams = streams
        self._deliver = deliver
        self._by_first: dict[int, Segment] = {}
        self._by_last: dict[int, Segment] = {}
        self.held = 0
        "Bytes of unfinished messages."
        self.pieces = 0
        "Fragments of them."

    def __len__(self) -> int:
        return len(self._by_first)

    def add(self, tsn: int, flags: int, stream_id: int, sequence: int, ppid: int, payload: bytes) -> None:
        """Take a fragment that was not here before."""
        key = (stream_id, sequence, ppid, flags & Flag.UNORDERED)
        if flags & 3 == 3:
            self._complete(key, payload)
            return
        size = len(payload)
        self.held += size
        self.pieces += 1
        segment = None if flags & Flag.BEGINS else self._by_last.get(tsn - 1)
        if segment is not None and segment.key == key:
            del self._by_last[tsn - 1]
            segment.last = tsn
            segment.size += size
            segment.parts.append(payload)
            segment.ends = bool(flags & Flag.ENDS)
        else:
            segment = self._by_first[tsn] = Segment(tsn, tsn, flags, key, [payload], size)
        if not segment.ends:
            self._join_next(segment)
        if segment.begins and segment.ends:
            del self._by_first[segment.first]
            self.held -= segment.size
            self.pieces -= len(segment.parts)
            self._complete(key, b"".join(segment.parts))
        else:
            self._by_last[segment.last] = segment

    def _join_next(self, segment: Segment) -> None:
        behind = self._by_first.get(segment.last + 1)
        if behind is not None and behind.key == segment.key and not behind.begins:
            del self._by_first[behind.first], self._by_last[behind.last]
            segment.last = behind.last
            segment.ends = behind.ends
            segment.size += behind.size
            segment.parts += behind.parts

    def _complete(self, key: tuple[int, int, int, int], payload: bytes) -> None:
        stream_id, sequence, ppid, unordered = key
        if unordered:
            self._deliver(stream_id, ppid, payload)
        else:
            self._streams.complete(stream_id, sequence, ppid, payload)

    def insert(self, segment: Segment) -> None:
        """Keep a segment."""
        self.held += segment.size
        self.pieces += len(segment.parts)
        self._by_first[segment.first] = segment
        self._by_last[segment.last] = segment

    def _remove(self, segment: Segment) -> None:
        del self._by_first[segment.first], self._by_last[segment.last]
        self.held -= segment.size
        self.pieces -= len(segment.parts)

    def take_open(self, cumulative: int) -> Segment | None:
        """Take out the message that goes on behind the cumulative TSN, if there is one."""
        segment = self._by_last.get(cumulative)
        if segment is None or not segment.begins:
            return None
        self._remove(segment)
        return segment

    def skip_to(self, cumulative: int) -> None:
        """What is unfinished up to this TSN will not be finished (RFC 3758 section 3.6)."""
        for segment in list(self._by_first.values()):
            if segment.last < cumulative or (segment.first <= cumulative and not segment.begins):
                self._remove(segment)

    def reset(self, stream_ids: tuple[int, ...], cumulative: int) -> None:
        """Streams, all if none is named, begin anew: what is unfinished of their last life stays so."""
        chosen = frozenset(stream_ids)
        for segment in list(self._by_first.values()):
            if segment.last <= cumulative and (not chosen or segment.key[0] in chosen):
                self._remove(segment)
