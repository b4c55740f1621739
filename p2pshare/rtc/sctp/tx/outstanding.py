"""What was sent and is not acknowledged: which TSNs, of which messages, how many bytes.

Kept as runs (`message.py`) and as sets of TSN ranges, so that a SACK costs what it says, not what is in
flight. The one invariant: **flight is the bytes above the cumulative TSN less those in `sacked`, `lost` and
`abandoned`**, three sets that share no number. All TSNs here are extended ones.
"""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter

from p2pshare.rtc.sctp.ranges import Ranges
from p2pshare.rtc.sctp.tx.message import Message, Run

_first = attrgetter("first")
_COMPACT_AT = 8  # runs that are acknowledged; each may hold a message of 64 KiB or more in memory


class Outstanding:
    """TSNs from ``cumulative + 1`` to ``next_tsn - 1``."""

    def __init__(self, next_tsn: int) -> None:
        self.next_tsn = next_tsn
        self.cumulative = next_tsn - 1
        self.flight = 0
        self.sacked = Ranges()
        self.lost = Ranges()
        "To be sent again."
        self.abandoned = Ranges()
        "Given up (RFC 3758)."
        self.late = 0
        "Bytes that arrived after they were taken for lost and before they were sent again, so far."
        self._runs: list[Run] = []
        self._head = 0
        self._total = 0
        "Bytes of all runs there ever were."
        self._total_acknowledged = 0
        "Of these, the bytes up to the cumulative TSN."

    @property
    def is_empty(self) -> bool:
        """Everything that was sent is acknowledged."""
        return self.cumulative + 1 == self.next_tsn

    def append(self, message: Message, count: int, size: int) -> int:
        """Give ``count`` TSNs to the next ``size`` bytes of a message; returns the first."""
        first = self.next_tsn
        last = self.next_tsn = first + count
        last -= 1
        runs = self._runs
        run = runs[-1] if len(runs) > self._head else None
        if run is not None and run.message is message and run.fragment_size == message.fragment_size:
            run.last = last
            run.size += size
        else:
            runs.append(Run(message, first, last, message.sent, size, self._total))
        if message.first_tsn < 0:
            message.first_tsn = first
        message.last_tsn = last
        message.fragments_numbered += count
        message.stream.last_tsn = last
        self._total += size
        self.flight += size
        return first

    def run_of(self, tsn: int) -> Run:
        """The run that a TSN belongs to, which must be outstanding."""
        return self._runs[bisect_right(self._runs, tsn, lo=self._head, key=_first) - 1]

    def runs_between(self, first: int, last: int) -> list[Run]:
        """All runs with a TSN in this range."""
        low = bisect_right(self._runs, first, lo=self._head, key=_first) - 1
        high = bisect_right(self._runs, last, lo=self._head, key=_first)
        return self._runs[max(low, self._head) : high]

    def _bytes_through(self, tsn: int) -> int:
        run = self.run_of(tsn)
        return run.base + min((tsn - run.first + 1) * run.fragment_size, run.size)

    def bytes_between(self, first: int, last: int) -> int:
        """Bytes of the outstanding TSNs from ``first`` to ``last``."""
        run = self.run_of(first)
        return self._bytes_through(last) - run.base - (first - run.first) * run.fragment_size

    def _bytes_in(self, some: Ranges, first: int, last: int) -> int:
        if not some:
            return 0
        return sum(self.bytes_between(start, end) for start, end in some.within(first, last))

    def acknowledge(self, cumulative: int) -> int:
        """Everything up to this TSN has arrived; returns the bytes that were not acknowledged before."""
        first = self.cumulative + 1
        sacked = lost = abandoned = 0
        if self.sacked.firsts:
            sacked = self._forget(self.sacked, first, cumulative)
        if self.lost.firsts:
            lost = self._forget(self.lost, first, cumulative)
            self.late += lost
        if self.abandoned.firsts:
            abandoned = self._forget(self.abandoned, first, cumulative)
        runs, head = self._runs, self._head
        while head < len(runs) and runs[head].last <= cumulative:
            head += 1
        through = self._total
        if head < len(runs):
            run = runs[head]
            through = run.base + max(0, cumulative + 1 - run.first) * run.fragment_size
        total = through - self._total_acknowledged
        self._total_acknowledged = through
        self.cumulative = cumulative
        self.flight -= total - sacked - lost - abandoned
        if head > _COMPACT_AT and 2 * head > len(runs):
            del runs[:head]
            head = 0
        self._head = head
        return total - sacked - abandoned

    def _forget(self, some: Ranges, first: int, cumulative: int) -> int:
        size = self._bytes_in(some, first, cumulative)
        some.remove_through(cumulative)
        return size

    def sack(self, first: int, last: int) -> tuple[int, list[tuple[int, int]]]:
        """These have arrived; returns how many bytes that is news of, and which TSNs."""
        news = self.sacked.holes(first, last)
        size = 0
        for start, end in news:
            some = self.bytes_between(start, end)
            size += some
            if self.lost:
                late = self._bytes_in(self.lost, start, end)
                some -= late
                self.late += late
                self.lost.remove(start, end)
            if self.abandoned:
                some -= self._bytes_in(self.abandoned, start, end)
                self.abandoned.remove(start, end)
            self.flight -= some
            self.sacked.add(start, end)
        return size, news

    def lose(self, first: int, last: int) -> list[tuple[int, int]]:
        """These are taken for lost, unless acknowledged or given up; returns which ones are new."""
        news: list[tuple[int, int]] = []
        for start, end in self.sacked.holes(first, last):
            for begin, finish in self.abandoned.holes(start, end) if self.abandoned else ((start, end),):
                for low, high in self.lost.holes(begin, finish):
                    self.flight -= self.bytes_between(low, high)
                    self.lost.add(low, high)
                    news.append((low, high))
        return news

    def lose_everything(self) -> list[tuple[int, int]]:
        """A timeout: nothing that is not acknowledged is on its way any more.

        What was selectively acknowledged has arrived, unless the receiver takes it back (RFC 9260 section
        6.3.3): then the packet after the cumulative TSN is among it, which a receiver that still had it would
        have acknowledged.
        """
        first, last = self.cumulative + 1, self.next_tsn - 1
        if first > last:
            return []
        if first in self.sacked:
            for start, end in list(self.sacked):
                self.flight += self.bytes_between(start, end)
            self.sacked.clear()
        return self.lose(first, last)

    def find_again(self) -> None:
        """What is marked lost is on its way after all."""
        for start, end in self.lost:
            self.flight += self.bytes_between(start, end)
        self.lost.clear()

    def resend(self, first: int, last: int) -> None:
        """These are sent again."""
        self.lost.remove(first, last)
        self.flight += self.bytes_between(first, last)

    def abandon(self, first: int, last: int) -> None:
        """These are given up, unless they were acknowledged."""
        for start, end in self.sacked.holes(max(first, self.cumulative + 1), last):
            for low, high in self.abandoned.holes(start, end):
                some = self.bytes_between(low, high)
                self.flight -= some - self._bytes_in(self.lost, low, high)
                self.lost.remove(low, high)
                self.abandoned.add(low, high)

    def skippable(self) -> int:
        """The TSN up to which all is acknowledged or given up (RFC 3758: "Advanced.Peer.Ack.Point")."""
        point = self.cumulative
        while point + 1 < self.next_tsn:
            for some in (self.abandoned, self.sacked):
                step = some.within(point + 1, point + 1)
                if step:
                    point = some.lasts[bisect_right(some.firsts, point + 1) - 1]
                    break
            else:
                break
        return point
