"""The state cookie: all that an INIT tells, given back by the peer, so that an INIT alone takes no memory.

RFC 9260 section 5.1.3. The secret never leaves this module's instance; a cookie that was changed, or made by
someone else, does not verify.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import NamedTuple

_LAYOUT = struct.Struct("!dIIIIIHHIIB")
_MAC_SIZE = 16


class Cookie(NamedTuple):
    """What is needed to set up the association without having kept anything."""

    made_at: float
    local_tag: int
    local_initial_tsn: int
    peer_tag: int
    peer_initial_tsn: int
    peer_window: int
    peer_outbound_streams: int
    peer_inbound_streams: int
    local_tie_tag: int
    peer_tie_tag: int
    "Tags of the association that was there when the INIT came, 0 without one (RFC 9260 section 5.2.2)."
    forward_tsn: bool
    extensions: frozenset[int]


class CookieJar:
    """Makes and checks cookies."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def seal(self, cookie: Cookie) -> bytes:
        """The bytes that go out in INIT ACK."""
        body = _LAYOUT.pack(
            cookie.made_at,
            cookie.local_tag,
            cookie.local_initial_tsn,
            cookie.peer_tag,
            cookie.peer_initial_tsn,
            cookie.peer_window,
            cookie.peer_outbound_streams,
            cookie.peer_inbound_streams,
            cookie.local_tie_tag,
            cookie.peer_tie_tag,
            cookie.forward_tsn,
        )
        body += bytes(sorted(cookie.extensions))
        return self._mac(body) + body

    def open(self, sealed: bytes) -> Cookie | None:
        """The cookie in these bytes, None for a forged one."""
        mac, body = sealed[:_MAC_SIZE], sealed[_MAC_SIZE:]
        if len(body) < _LAYOUT.size or not hmac.compare_digest(mac, self._mac(body)):
            return None
        fields = _LAYOUT.unpack_from(body)
        return Cookie._make((*fields[:10], bool(fields[10]), frozenset(body[_LAYOUT.size :])))

    def _mac(self, body: bytes) -> bytes:
        return hmac.new(self._secret, body, hashlib.sha256).digest()[:_MAC_SIZE]
