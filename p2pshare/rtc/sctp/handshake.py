"""The four-way handshake, INIT collision and restart (RFC 9260 sections 5.1 and 5.2).

Decides what a handshake chunk means; the association sends the answers and changes its state. Both ends of a
WebRTC association send INIT (RFC 8841 section 9.3), so that collision is the normal case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from p2pshare.rtc.sctp.config import AssociationConfig
from p2pshare.rtc.sctp.cookie import Cookie, CookieJar
from p2pshare.rtc.sctp.packet import WRAP, Init, Kind


@dataclass(frozen=True, slots=True)
class Peer:
    """What the other end has said of itself in INIT or INIT ACK."""

    tag: int
    initial_tsn: int
    window: int
    outbound_streams: int
    inbound_streams: int
    forward_tsn: bool
    extensions: frozenset[int]

    @classmethod
    def of_init(cls, init: Init) -> Peer:
        """From a handshake chunk."""
        return cls(
            init.tag,
            init.initial_tsn,
            init.window,
            init.outbound_streams,
            init.inbound_streams,
            init.forward_tsn or Kind.FORWARD_TSN in init.extensions,
            init.extensions,
        )

    @classmethod
    def of_cookie(cls, cookie: Cookie) -> Peer:
        """From a cookie of ours that has come back."""
        return cls(
            cookie.peer_tag,
            cookie.peer_initial_tsn,
            cookie.peer_window,
            cookie.peer_outbound_streams,
            cookie.peer_inbound_streams,
            cookie.forward_tsn,
            cookie.extensions,
        )


@dataclass(frozen=True, slots=True)
class Numbers:
    """Where the two ends begin to count."""

    tag: int
    "Ours, that packets to us carry."
    next_tsn: int
    peer_tsn: int
    "The next TSN of the peer."
    reset_number: int
    "Of our next stream reset request (RFC 6525); as the next, it begins with the first TSN."
    peer_reset_number: int


class Echo(Enum):
    """What a COOKIE ECHO amounts to."""

    FORGED = auto()
    STALE = auto()
    FOREIGN = auto()
    "Valid, but of no association of now (RFC 9260 section 5.2.4 C): dropped in silence."
    ESTABLISHES = auto()
    KNOWN = auto()
    "A repetition of one that was taken already."
    RESTARTS = auto()


class Handshake:
    """Our end's tags and numbers, and cookies."""

    def __init__(self, config: AssociationConfig, random: Callable[[int], bytes]) -> None:
        self._config = config
        self._random = random
        self._jar = CookieJar(random(32))
        self.tag = self._random_tag()
        self.initial_tsn = int.from_bytes(random(4), "big")
        extensions = {Kind.RECONFIG, Kind.PAD}
        if config.partial_reliability:
            extensions.add(Kind.FORWARD_TSN)
        if config.interleaving:
            extensions |= {Kind.I_DATA, Kind.I_FORWARD_TSN}
        self.extensions = frozenset(extensions)

    def _random_tag(self) -> int:
        while True:
            tag = int.from_bytes(self._random(4), "big")
            if tag:
                return tag

    def init(self) -> Init:
        """Our INIT."""
        return self._init(self.tag, self.initial_tsn)

    def _init(
        self, tag: int, initial_tsn: int, cookie: bytes = b"", unrecognized: tuple[bytes, ...] = ()
    ) -> Init:
        config = self._config
        return Init(
            tag,
            config.receive_window,
            config.max_streams,
            config.max_streams,
            initial_tsn,
            self.extensions,
            config.partial_reliability,
            cookie,
            unrecognized,
        )

    def answer(self, init: Init, now: float, current: Peer | None) -> Init:
        """INIT ACK for an INIT; nothing of it is kept.

        While an association is up the INIT may be a restart, which gets a new tag and ties in its cookie;
        else our own tag and number, those of our own INIT, are repeated (RFC 9260 sections 5.2.1 and 5.2.2).
        """
        tag, initial_tsn, local_tie, peer_tie = self.tag, self.initial_tsn, 0, 0
        if current is not None:
            local_tie, peer_tie = self.tag, current.tag
            if init.tag != current.tag:
                tag = self._random_tag()
                initial_tsn = int.from_bytes(self._random(4), "big") & WRAP
        cookie = Cookie(
            now,
            tag,
            initial_tsn,
            init.tag,
            init.initial_tsn,
            init.window,
            init.outbound_streams,
            init.inbound_streams,
            local_tie,
            peer_tie,
            init.forward_tsn or Kind.FORWARD_TSN in init.extensions,
            init.extensions,
        )
        return self._init(tag, initial_tsn, self._jar.seal(cookie), init.unrecognized)

    def judge(
        self, sealed: bytes, packet_tag: int, now: float, current: Peer | None
    ) -> tuple[Echo, Cookie | None]:
        """What a COOKIE ECHO amounts to (RFC 9260 section 5.2.4). ``current``: the peer, once it is known."""
        cookie = self._jar.open(sealed)
        if cookie is None or packet_tag != cookie.local_tag:
            return Echo.FORGED, None
        if current is not None and cookie.local_tag == self.tag and cookie.peer_tag == current.tag:
            return Echo.KNOWN, cookie
        if not 0 <= now - cookie.made_at <= self._config.cookie_lifetime_s:
            return Echo.STALE, cookie
        if cookie.local_tag == self.tag:
            return Echo.ESTABLISHES, cookie
        is_tied = current is not None and (cookie.local_tie_tag, cookie.peer_tie_tag) == (
            self.tag,
            current.tag,
        )
        if is_tied and current is not None and cookie.peer_tag != current.tag:
            return Echo.RESTARTS, cookie
        return Echo.FOREIGN, None

    def adopt(self, cookie: Cookie) -> None:
        """A restart: the numbers that the cookie was made with are ours now."""
        self.tag = cookie.local_tag
        self.initial_tsn = cookie.local_initial_tsn
