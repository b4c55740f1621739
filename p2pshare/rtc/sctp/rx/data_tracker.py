"""Which TSNs have arrived, and what a SACK says of it (RFC 9260 sections 6.2 and 6.7)."""

from __future__ import annotations

from enum import Enum

from p2pshare.rtc.sctp.packet import WRAP, Sack, extended
from p2pshare.rtc.sctp.ranges import Ranges

_GAP_REACH = 65_535  # a gap block's ends are 16-bit distances
_GAPS_AT_MOST = 240  # what fits into a packet of 1,132 bytes beside the duplicates
_DUPLICATES_AT_MOST = 32


class Arrival(Enum):
    """What a TSN is to the receiver."""

    IN_ORDER = 1
    AHEAD = 2
    DUPLICATE = 3
    BEYOND = 4
    "Further ahead than is kept."


class DataTracker:
    """The cumulative TSN, the ranges ahead of it, and duplicates to report. TSNs are extended."""

    def __init__(self, initial_tsn: int, max_out_of_order: int) -> None:
        self.cumulative = initial_tsn - 1
        self.ahead = Ranges()
        self._ahead_count = 0
        self._max_out_of_order = max_out_of_order
        self._duplicates: list[int] = []

    @property
    def has_duplicates(self) -> bool:
        """Duplicates have arrived since the last SACK."""
        return bool(self._duplicates)

    def judge(self, wire_tsn: int) -> tuple[int, Arrival]:
        """The extended TSN, and what it is; a duplicate is noted, nothing else changes."""
        cumulative = self.cumulative
        tsn = extended(wire_tsn, cumulative)
        if tsn == cumulative + 1:
            return tsn, Arrival.IN_ORDER
        if tsn <= cumulative or tsn in self.ahead:
            if len(self._duplicates) < _DUPLICATES_AT_MOST:
                self._duplicates.append(wire_tsn)
            return tsn, Arrival.DUPLICATE
        if tsn - cumulative > _GAP_REACH or self._ahead_count >= self._max_out_of_order:
            return tsn, Arrival.BEYOND
        return tsn, Arrival.AHEAD

    def accept(self, tsn: int) -> None:
        """This TSN, in order or ahead, was taken."""
        if tsn == self.cumulative + 1:
            self.cumulative = tsn
            if self.ahead:
                self._close_up()
        else:
            self.ahead.add(tsn, tsn)
            self._ahead_count += 1

    def skip_to(self, tsn: int) -> None:
        """Everything up to this TSN counts as arrived (RFC 3758 section 3.6)."""
        self._ahead_count -= sum(end - start + 1 for start, end in self.ahead.within(self.cumulative, tsn))
        self.ahead.remove_through(tsn)
        self.cumulative = tsn
        if self.ahead:
            self._close_up()

    def _close_up(self) -> None:
        ahead = self.ahead
        if ahead.firsts[0] == self.cumulative + 1:
            self._ahead_count -= ahead.lasts[0] - self.cumulative
            self.cumulative = ahead.lasts[0]
            del ahead.firsts[0], ahead.lasts[0]

    def sack(self, window: int) -> Sack:
        """The SACK for all this; duplicates are reported once."""
        cumulative = self.cumulative
        gaps: list[int] = []
        for first, last in zip(self.ahead.firsts[:_GAPS_AT_MOST], self.ahead.lasts, strict=False):
            gaps += (first - cumulative, last - cumulative)
        duplicates, self._duplicates = tuple(self._duplicates), []
        return Sack(cumulative & WRAP, window, tuple(gaps), duplicates)
