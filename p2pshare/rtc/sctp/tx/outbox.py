"""The memory that trains are built in: packets of one size, one behind the other, each with its header.

Hot path: for each packet size the places of its packets are kept as tuples of ready-made pointers and
buffers, because making one costs 50 ns and a packet needs three.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from p2pshare.rtc.sctp.memory import Buffer, Pointer, allocate, buffer_at, crc_of, extend_crc, words_of
from p2pshare.rtc.sctp.packet import COMMON_HEADER

_LAYOUTS_AT_MOST = 64

Slot: TypeAlias = tuple[int, Pointer, Buffer, int]
"Offset of the first chunk, pointer to the payload, what the checksum covers, index of the checksum's word."


@dataclass(slots=True)
class Train:
    """Packets in the outbox, ready to be sealed and sent at once. (Not frozen: that costs 1 us a train.)"""

    size: int
    "Bytes of all of them."
    packet_size: int
    "Bytes of each; the last may be shorter."
    count: int
    is_probe: bool = False
    "Larger than the path is known to take: send it unfragmented; for errors see `Association.probe_failed`."
    is_oversized: bool = False
    "Packets made before the path's packet size went down: the network may fragment them."


class Outbox:
    """Builds packets in place. ``memory`` is what the caller seals from."""

    def __init__(self, size: int, local_port: int, remote_port: int) -> None:
        self.size = size
        self.memory: Pointer = allocate(size)
        self.view: Buffer = buffer_at(self.memory, size)
        self.words: Any = words_of(self.view)
        self._ports = (local_port, remote_port)
        self._layouts: dict[tuple[int, int], list[Slot]] = {}
        self._written = (0, 0)
        "Packet size, and number of packets of it, that have their header in place."
        self.header = b""
        self.state = 0
        self.set_tag(0)

    def set_tag(self, tag: int) -> None:
        """Packets carry the peer's verification tag from now on."""
        self.header = COMMON_HEADER.pack(*self._ports, tag, 0)
        self.state = crc_of(self.header)
        "The checksum over the header: it begins every packet's."
        self._written = (0, 0)

    def slots(self, packet_size: int, overhead: int, count: int) -> list[Slot]:
        """At least ``count`` places for packets of this size, the payload behind ``overhead`` bytes."""
        written_size, written = self._written
        if written_size != packet_size:
            written = 0
        if written < count:
            header = self.header
            view = self.view
            for at in range(written * packet_size, count * packet_size, packet_size):
                view[at : at + 12] = header
            self._written = (packet_size, count)
        slots = self._layouts.get((packet_size, overhead))
        if slots is None:
            if len(self._layouts) == _LAYOUTS_AT_MOST:
                self._layouts.clear()
            slots = self._layouts[packet_size, overhead] = []
        memory = self.memory
        for index in range(len(slots), count):
            at = index * packet_size
            covered = buffer_at(memory + at + 12, packet_size - 12)
            slots.append((at + 12, memory + at + overhead, covered, (at + 8) >> 2))
        return slots

    def finish(self, at: int, size: int) -> None:
        """Write the checksum of a packet that fills no slot; it begins at ``at`` and has its header."""
        self.words[(at + 8) >> 2] = extend_crc(self.state, self.view[at + 12 : at + size])

    def control(self, chunks: bytes, header: bytes | None = None) -> Train:
        """Build one packet of control chunks, with another header if one is given."""
        size = 12 + len(chunks)
        if header is None:
            header = self.header
            state = self.state
        else:
            state = crc_of(header)
        if header is not self.header or size > self._written[0]:
            self._written = (0, 0)
        self.view[0:size] = header + chunks
        self.words[2] = extend_crc(state, chunks)
        return Train(size, size, 1)
