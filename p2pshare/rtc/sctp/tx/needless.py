"""Whether a recovery was needless: all that was taken for lost had only come late.

After the Eifel response (RFC 4015) and F-RTO (RFC 5682), with what SCTP tells: SACKs report duplicates, and
what is acknowledged before it was sent again had arrived the first time.
"""

from __future__ import annotations

from p2pshare.rtc.sctp.ranges import Ranges

_RANGES_AT_MOST = 512


class Needless:
    """What one recovery has sent again, less what turned out to have arrived the first time."""

    def __init__(self) -> None:
        self._in_doubt = Ranges()
        self._resent = Ranges()
        "Of earlier recoveries as well."
        self._is_watching = False
        self._has_proof = False

    def began(self) -> None:
        """The congestion window was cut."""
        self._in_doubt.clear()
        self._is_watching = True
        self._has_proof = False

    def resent(self, first: int, last: int) -> None:
        """These have left again."""
        if self._is_watching:
            self._in_doubt.add(first, last)
        self._resent.add(first, last)
        if len(self._resent) > _RANGES_AT_MOST:
            self._resent.remove_through(self._resent.lasts[_RANGES_AT_MOST // 2])

    def duplicate(self, tsn: int) -> bool:
        """A duplicate was reported. Returns whether we have made it, rather than the network."""
        if tsn in self._in_doubt:
            self._in_doubt.remove(tsn, tsn)
            self._has_proof = True
        if tsn not in self._resent:
            return False
        self._resent.remove(tsn, tsn)
        return True

    def late(self) -> None:
        """Something arrived the first time it was sent, though it was taken for lost."""
        self._has_proof = self._is_watching

    def is_proved(self, *, is_something_lost: bool) -> bool:
        """Whether nothing had been lost: said once."""
        if not self._has_proof or self._in_doubt or is_something_lost:
            return False
        self.settle()
        return True

    def settle(self) -> None:
        """The cut was taken back, or is not to be."""
        self._is_watching = self._has_proof = False
        self._in_doubt.clear()
