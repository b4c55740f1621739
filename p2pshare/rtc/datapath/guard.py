"""What may pass from the network to aioice, aiortc and our association: the rest is dropped and counted.

Anybody can send a datagram to an ICE port. So a datagram that is not STUN passes only from an address that
signaling named or an authenticated check came from; STUN passes when it parses; an empty one never; what
waits for aiortc is bounded. Nothing here raises. First bytes as in RFC 7983.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aioice import Connection
from aioice.ice import StunProtocol
from aioice.stun import parse_message

from p2pshare.rtc.datapath import seams

QUEUE_LIMIT = 2_048
"Datagrams that may wait for aiortc, which reads them one a loop turn."

STUN_BELOW = 4
DTLS_FROM, DTLS_BELOW = 20, 64
MEDIA_FROM, MEDIA_BELOW = 128, 192


@dataclass(slots=True)
class Drops:
    """How many datagrams were dropped, by reason."""

    empty: int = 0
    "Datagrams without a byte."
    strange: int = 0
    "Not STUN, and from an address that nobody vouched for."
    malformed: int = 0
    "STUN that does not parse, or that aioice choked on."
    unknown: int = 0
    "Neither STUN, DTLS nor media."
    overflow: int = 0
    "More than may wait for aiortc."


class Guard:
    """Stands before the protocols of one ICE agent."""

    def __init__(self, connection: Connection) -> None:
        self.drops = Drops()
        self._connection = connection
        self._known: set[tuple[Any, ...]] = set()
        self._known_age: object = None
        self._trusted: tuple[Any, ...] | None = None

    def trusts(self, address: tuple[Any, ...]) -> bool:
        """Whether signaling or an authenticated check vouched for this address."""
        if address == self._trusted:  # the peer, as good as always: once per received train
            return True
        age = seams.known_addresses_age(self._connection)
        if age != self._known_age:
            self._known_age = age
            self._known = set(seams.known_addresses(self._connection))
        if address[:2] not in self._known:
            return False
        self._trusted = address
        return True

    def receive(self, protocol: StunProtocol, datagram: bytes, address: tuple[Any, ...]) -> None:
        """Pass one datagram on to aioice, or drop it."""
        if not datagram:
            self.drops.empty += 1
        elif datagram[0] < STUN_BELOW:
            self._receive_stun(protocol, datagram, address)
        elif not self.trusts(address):
            self.drops.strange += 1
        elif not (DTLS_FROM <= datagram[0] < DTLS_BELOW or MEDIA_FROM <= datagram[0] < MEDIA_BELOW):
            self.drops.unknown += 1
        elif seams.received(self._connection).qsize() >= QUEUE_LIMIT:
            self.drops.overflow += 1
        else:
            self._connection.data_received(datagram, protocol.local_candidate.component)

    def _receive_stun(self, protocol: StunProtocol, datagram: bytes, address: tuple[Any, ...]) -> None:
        try:
            parse_message(datagram)  # aioice takes what does not parse for data of the peer's
            StunProtocol.datagram_received(protocol, datagram, address)
        except Exception:  # noqa: BLE001  # a foreign parser on foreign bytes raises what it likes
            self.drops.malformed += 1
