"""How much may be on its way to a socket: what its receive buffer holds, measured.

The kernel charges the buffer with all the memory that a datagram takes there, not with its bytes: 1.03 times
these for a train that comes whole, 1.6 for a full packet alone, 3 where a network card's driver gives each
packet a page. Whatever does not fit is dropped, so the window is what fits at this socket's own rate. Only
Linux tells (SO_MEMINFO, 4.12); elsewhere, and until it is known, the rate is taken to be 1.75.
"""

from __future__ import annotations

import socket
import struct
from typing import Final

USABLE: Final = 0.7
"Of the buffer: the kernel gives what was read back in batches of up to a quarter of it."

UNKNOWN_COST: Final = 1.75
LEAST_COST: Final = 1.1
"Bytes of the buffer that a byte received takes: assumed, and assumed at least."

ENOUGH: Final = 1 << 20
"A window of so many bytes is not made larger for a low cost: what a busy receiver has waiting is delay."

_SAMPLE_EVERY = 8  # wake-ups
_TOTAL_AT_LEAST, _EACH_AT_LEAST = 8_192, 1_000  # bytes: small datagrams cost many times their size
_FORGETTING = 1 / 16
_NEWS = 0.1
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("9I")


class ReceiveBuffer:
    """The receive buffer of one socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.size = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        "Bytes, as the kernel charges them."
        self.cost = UNKNOWN_COST
        self._told = UNKNOWN_COST
        self._countdown = 1 if self._charged() is not None else 0

    @property
    def window(self) -> int:
        """Bytes that may be on their way."""
        usable = self.size * USABLE
        return int(min(usable / max(self._told, LEAST_COST), max(usable / UNKNOWN_COST, ENOUGH)))

    def _charged(self) -> int | None:
        try:
            charged, size, *_ = _MEMINFO.unpack(
                self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
            )
        except (OSError, struct.error):
            return None
        return charged if size == self.size else None  # another system's option of this number

    def sample(self) -> int:
        """Bytes that the buffer is charged with before a wake-up's first receive; 0: not looked at."""
        if not self._countdown:
            return 0
        self._countdown -= 1
        if self._countdown:
            return 0
        self._countdown = _SAMPLE_EVERY
        return self._charged() or 0

    def emptied(self, charged: int, received: int, datagrams: int) -> bool:
        """So much came until the buffer was empty, which `sample` had found so full.

        Returns whether `window` has changed. What came in between makes the cost look lower than it is: so
        a higher one is believed at once, a lower one slowly.
        """
        if received < _TOTAL_AT_LEAST or received < datagrams * _EACH_AT_LEAST or charged < received:
            return False
        cost = charged / received
        self.cost = max(cost, self.cost + (cost - self.cost) * _FORGETTING)
        if abs(self.cost - self._told) < _NEWS * self._told:
            return False
        self._told = self.cost
        return True
