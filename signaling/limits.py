"""What a server lets strangers take, and the counters that hold them to it.

Sans-IO: `now` (seconds of any monotonic clock) is an argument.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from dataclasses import dataclass

from signaling.messages import MAX_PAYLOAD


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a server. Sizes are bytes, times are seconds."""

    max_payload: int = MAX_PAYLOAD
    "A signal's payload; the whole message may have 2 KiB more."
    max_peers: int = 64
    "Peers in one room."
    max_rooms: int = 10_000
    max_connections: int = 10_000
    max_connections_per_address: int = 128
    "An address is an IPv4 address or an IPv6 /64. A room of 64 on one test machine fits."
    max_queue: int = 256 * 1024
    "Outgoing bytes that wait for one client beyond its socket's buffers; one more, and it is cut off."
    messages_per_s: float = 20.0
    message_burst: int = 100
    bytes_per_s: float = 64 * 1024
    byte_burst: int = 512 * 1024
    "A client over these rates is not refused, but read more slowly, which slows it down by TCP."
    joins_per_s: float = 5.0
    "Connections that one address may open, on average."
    join_burst: int = 256
    grace_s: float = 3.0
    "A peer whose socket closed is reported as left after this; until then it may come back unnoticed."
    handshake_timeout_s: float = 5.0
    "From the TCP connection to a complete HTTP request."
    join_timeout_s: float = 5.0
    "From the WebSocket handshake to `join`."
    heartbeat_s: float = 10.0
    "Silence after which a client is pinged; without an answer within half of it, it is cut off."
    close_timeout_s: float = 2.0
    "A closing handshake may take this long."


class TokenBucket:
    """So many a second on average, so many at once."""

    __slots__ = ("_burst", "_rate", "_tokens", "_when")

    def __init__(self, *, rate: float, burst: float, now: float) -> None:
        """Make a full bucket; `rate` tokens a second flow in, above 0, and `burst` fit."""
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._when = now

    def take(self, tokens: float, now: float) -> float:
        """Take tokens; return the seconds to wait until they are paid for, 0 when they were there."""
        self._fill(now)
        self._tokens -= tokens
        return max(0.0, -self._tokens / self._rate)

    def try_take(self, tokens: float, now: float) -> bool:
        """Take tokens if they are there now; return whether they were."""
        self._fill(now)
        if self._tokens < tokens:
            return False
        self._tokens -= tokens
        return True

    def is_full(self, now: float) -> bool:
        """Whether it holds nothing that is worth remembering."""
        self._fill(now)
        return self._tokens >= self._burst

    def _fill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._when) * self._rate)
        self._when = max(self._when, now)


class Admission:
    """Who may open one more connection: counts of open ones, and their rate, for each address."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open: Counter[str] = Counter()
        self._buckets: dict[str, TokenBucket] = {}
        self._total = 0

    def __len__(self) -> int:
        """Connections admitted and not yet released."""
        return self._total

    def admit(self, address: str, now: float) -> str | None:
        """Count a connection in. Returns None, or the reason for a person why it was not counted."""
        limits = self._limits
        key = _network(address)
        if self._total >= limits.max_connections:
            return f"the server has {limits.max_connections:,} connections already"
        if self._open[key] >= limits.max_connections_per_address:
            return f"your address has {limits.max_connections_per_address:,} connections already"
        if not self._bucket(key, now).try_take(1, now):
            return "your address opens connections too fast"
        self._open[key] += 1
        self._total += 1
        return None

    def release(self, address: str) -> None:
        """Count an admitted connection out."""
        key = _network(address)
        self._total -= 1
        self._open[key] -= 1
        if not self._open[key]:
            del self._open[key]

    def _bucket(self, key: str, now: float) -> TokenBucket:
        if key not in self._buckets:
            if len(self._buckets) >= self._limits.max_connections:
                self._buckets = {known: old for known, old in self._buckets.items() if not old.is_full(now)}
            if len(self._buckets) >= self._limits.max_connections:
                self._buckets.clear()
            limits = self._limits
            self._buckets[key] = TokenBucket(rate=limits.joins_per_s, burst=limits.join_burst, now=now)
        return self._buckets[key]


def _network(address: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 that one IPv6 host commonly owns."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((ip, 64), strict=False))
