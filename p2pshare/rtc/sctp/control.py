"""Control chunks that wait to be sent, bundled into packets."""

from __future__ import annotations

from collections import deque

from p2pshare.rtc.sctp.packet import COMMON_HEADER
from p2pshare.rtc.sctp.stats import Counters, Drop
from p2pshare.rtc.sctp.tx.outbox import Outbox, Train

_CHUNKS_AT_MOST = 64


class ControlQueue:
    """A bounded queue: a peer that asks faster than answers leave gets fewer answers."""

    def __init__(self, outbox: Outbox, local_port: int, remote_port: int, counters: Counters) -> None:
        self._outbox = outbox
        self._ports = (local_port, remote_port)
        self._counters = counters
        self._chunks: deque[bytes] = deque()
        self._alone: deque[tuple[int, bytes]] = deque()

    def send(self, chunk: bytes) -> None:
        """Send a chunk to the peer of this association, together with others."""
        if len(self._chunks) >= _CHUNKS_AT_MOST:
            self._counters.dropped[Drop.FLOOD] += 1
        else:
            self._chunks.append(chunk)

    def send_alone(self, tag: int, chunk: bytes) -> None:
        """Send a chunk in a packet of its own with this verification tag (RFC 9260 section 8.5)."""
        if len(self._alone) >= _CHUNKS_AT_MOST:
            self._counters.dropped[Drop.FLOOD] += 1
        else:
            self._alone.append((tag, chunk))

    def __len__(self) -> int:
        return len(self._chunks) + len(self._alone)

    def clear(self) -> None:
        """Forget what waits."""
        self._chunks.clear()
        self._alone.clear()

    def write(self, packet_size: int, sack: bytes = b"") -> Train | None:
        """The next packet of control chunks, if any waits; a SACK goes before all others, and always."""
        if sack:
            if not self._chunks and not self._alone:
                self._counters.packets_sent += 1
                return self._outbox.control(sack)
            self._chunks.appendleft(sack)
        if self._alone:
            tag, chunk = self._alone.popleft()
            train = self._outbox.control(chunk, COMMON_HEADER.pack(*self._ports, tag, 0))
        elif self._chunks:
            room = packet_size - 12
            chunks = self._chunks.popleft()
            while self._chunks and len(chunks) + len(self._chunks[0]) <= room:
                chunks += self._chunks.popleft()
            train = self._outbox.control(chunks)
        else:
            return None
        self._counters.packets_sent += 1
        return train
