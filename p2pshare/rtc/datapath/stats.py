"""What a path gives and what went over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from p2pshare.rtc.datapath.network import Network
from p2pshare.rtc.sctp.stats import AssociationStats


@dataclass(frozen=True, slots=True)
class PathStats:
    """A snapshot; sizes in bytes, times in seconds."""

    association: AssociationStats | None
    "Round trip, windows, packet size, and counters; None before there is one."
    is_relayed: bool
    "Whether a TURN server carries it: one packet a call."
    segments: bool
    "Whether one send carries many datagrams (UDP_SEGMENT)."
    merges: bool
    "Whether one receive carries many datagrams (UDP_GRO)."
    receive_buffer_size: int | None
    "What the kernel gave of what was asked for; None for a relayed path."
    socket: Mapping[str, int]
    "Calls and datagrams of the socket in use."
    dropped: Mapping[str, int]
    "What was received and dropped below the association and above it, by reason."

    @classmethod
    def of(
        cls, association: AssociationStats | None, network: Network, channel_drops: Mapping[str, int]
    ) -> PathStats:
        """Collect."""
        socket = network.chosen()
        return cls(
            association=association,
            is_relayed=network.is_relayed,
            segments=socket is not None and socket.segments,
            merges=socket is not None and socket.merges,
            receive_buffer_size=None if socket is None else socket.receive_buffer.size,
            socket={} if socket is None else asdict(socket.stats),
            dropped={**asdict(network.guard.drops), **channel_drops},
        )
