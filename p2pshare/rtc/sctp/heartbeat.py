"""Whether the peer is still there (RFC 9260 section 8.3): by the clock, not by retransmissions."""

from __future__ import annotations

import struct
from collections.abc import Callable

from p2pshare.rtc.sctp.config import AssociationConfig
from p2pshare.rtc.sctp.packet import Malformed, Parameter, decode_parameters, encode_parameter

_INFO = struct.Struct("!4sdI")


class Heartbeat:
    """Silence of the peer, and the requests that break it."""

    def __init__(self, config: AssociationConfig, random: Callable[[int], bytes], now: float) -> None:
        self._config = config
        self._secret = random(4)
        self.heard_at = now
        self._asked_at = now
        self.is_unresponsive = False

    def next_timer(self) -> float:
        """When `on_timer` has something to do."""
        due = max(self.heard_at, self._asked_at) + self._config.heartbeat_interval_s
        if not self.is_unresponsive:
            return min(due, self.heard_at + self._config.unresponsive_after_s)
        return min(due, self.heard_at + self._config.failed_after_s)

    def is_request_due(self, now: float) -> bool:
        """Whether to ask now; it is taken as done."""
        if now < max(self.heard_at, self._asked_at) + self._config.heartbeat_interval_s:
            return False
        self._asked_at = now
        return True

    def silence(self, now: float) -> float:
        """Seconds since the peer was heard."""
        return now - self.heard_at

    def request(self, now: float, probe_size: int = 0) -> bytes:
        """Body of a HEARTBEAT; ``probe_size`` names the packet size that it tries out."""
        return encode_parameter(Parameter.HEARTBEAT_INFO, _INFO.pack(self._secret, now, probe_size))

    def read(self, body: bytes, now: float) -> tuple[float, int]:
        """Round trip time and probe size that a HEARTBEAT ACK shows. Raises Malformed for a foreign one."""
        for kind, value in decode_parameters(body):
            if kind == Parameter.HEARTBEAT_INFO and len(value) == _INFO.size:
                secret, asked_at, probe_size = _INFO.unpack(value)
                if secret == self._secret and 0 <= now - asked_at <= self._config.failed_after_s:
                    return now - asked_at, probe_size
        raise Malformed("HEARTBEAT ACK")
