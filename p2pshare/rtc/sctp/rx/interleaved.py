"""Messages put together from I-DATA chunks, whose fragments are numbered within their message (RFC 8260)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable

from p2pshare.rtc.sctp.packet import Flag
from p2pshare.rtc.sctp.rx.streams import InboundStreams

_PLACE = struct.Struct("!HHI")


class Assembly:
    """A message that is not complete: its first fragments in order, and those behind a gap."""

    __slots__ = ("end", "later", "mid", "next", "parts", "place", "ppid", "size", "stream_id", "unordered")

    def __init__(self, stream_id: int, mid: int, unordered: int) -> None:
        self.stream_id = stream_id
        self.mid = mid
        self.unordered = unordered
        self.place = _PLACE.pack(stream_id, 0, mid)
        "The bytes by which a chunk names this message."
        self.ppid = 0
        self.parts: list[bytes] = []
        self.next = 0
        "Number of the fragment that goes on."
        self.later: dict[int, bytes] = {}
        self.end: int | None = None
        "Number of the last fragment, once that is known."
        self.size = 0


class InterleavedReassembly:
    """Unfinished messages by stream, identifier and order."""

    def __init__(self, streams: InboundStreams, deliver: Callable[[int, int, bytes], None]) -> None:
        self._streams = streams
        self._deliver = deliver
        self._assemblies: dict[tuple[bytes, int], Assembly] = {}
        self.held = 0
        "Bytes of unfinished messages."
        self.pieces = 0
        "Fragments of them."

    def __len__(self) -> int:
        return len(self._assemblies)

    def find(self, place: bytes, unordered: int) -> Assembly | None:
        """The unfinished message with this stream and identifier."""
        return self._assemblies.get((place, unordered))

    def begin(self, stream_id: int, mid: int, unordered: int) -> Assembly:
        """Make room for a message; it is an unfinished one from now on."""
        assembly = Assembly(stream_id, mid, unordered)
        self._assemblies[assembly.place, unordered] = assembly
        return assembly

    def add(self, flags: int, stream_id: int, mid: int, number: int, payload: bytes) -> None:
        """Take a fragment; ``number`` is the PPID in a message's first and its own number in others."""
        unordered = flags & Flag.UNORDERED
        if flags & 3 == 3:
            self._finish(stream_id, mid, unordered, number, payload)
            return
        assembly = self._assemblies.get((_PLACE.pack(stream_id, 0, mid), unordered))
        if assembly is None:
            if not unordered and self._streams.is_over(stream_id, mid):
                return  # a late fragment of a message that was given up
            assembly = self.begin(stream_id, mid, unordered)
        if flags & Flag.BEGINS:
            assembly.ppid = number
            number = 0
        if number < assembly.next or number in assembly.later:
            return  # a peer that numbers fragments twice
        if flags & Flag.ENDS and assembly.end is None:
            assembly.end = number
        assembly.size += len(payload)
        self.held += len(payload)
        self.pieces += 1
        if number != assembly.next:
            assembly.later[number] = payload
            return
        assembly.parts.append(payload)
        assembly.next += 1
        while assembly.later:
            part = assembly.later.pop(assembly.next, None)
            if part is None:
                break
            assembly.parts.append(part)
            assembly.next += 1
        if assembly.end is not None and assembly.next > assembly.end:
            self.complete(assembly)

    def complete(self, assembly: Assembly) -> None:
        """All of a message is here."""
        self.drop(assembly)
        payload = b"".join(assembly.parts)
        self._finish(assembly.stream_id, assembly.mid, assembly.unordered, assembly.ppid, payload)

    def drop(self, assembly: Assembly) -> None:
        """Forget an unfinished message."""
        del self._assemblies[assembly.place, assembly.unordered]
        self.held -= assembly.size
        self.pieces -= len(assembly.parts) + len(assembly.later)

    def _finish(self, stream_id: int, mid: int, unordered: int, ppid: int, payload: bytes) -> None:
        if unordered:
            self._deliver(stream_id, ppid, payload)
        else:
            self._streams.complete(stream_id, mid, ppid, payload)

    def skip(self, streams: Iterable[tuple[int, bool, int]]) -> None:
        """Messages up to these identifiers will not be finished (RFC 8260 section 2.3.1)."""
        until = {(stream_id, Flag.UNORDERED * unordered): mid for stream_id, unordered, mid in streams}
        for assembly in list(self._assemblies.values()):
            mid = until.get((assembly.stream_id, assembly.unordered))
            if mid is not None and (mid - assembly.mid) & 0xFFFF_FFFF < 0x8000_0000:
                self.drop(assembly)

    def reset(self, stream_ids: tuple[int, ...]) -> None:
        """Streams begin anew: unfinished messages of their last life will not be finished."""
        chosen = frozenset(stream_ids)
        for assembly in list(self._assemblies.values()):
            if not chosen or assembly.stream_id in chosen:
                self.drop(assembly)
