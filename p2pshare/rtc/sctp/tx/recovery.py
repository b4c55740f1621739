"""Which packets are lost: by time, after RACK (RFC 8985), with a tail loss probe and, at last, a timeout.

A packet is lost when one that was sent later has arrived and it is overdue by the time that reordering may
take. Times are kept per train, not per packet: packets of a train left at the same moment, their order is
that of their TSNs. New data and retransmissions are logged apart, so that the log of new data is ordered by
TSN as well.
"""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter

from p2pshare.rtc.sctp.tx.delivery import DeliveryRate, Sent
from p2pshare.rtc.sctp.tx.outstanding import Outstanding
from p2pshare.rtc.sctp.tx.reordering import ReorderingWindow
from p2pshare.rtc.sctp.tx.rto import RoundTripTime

_first = attrgetter("first")
_COMPACT_AT = 256
_ENOUGH_ACKNOWLEDGED = 3
_INSTANT_S = 1e-6


class Recovery:
    """Finds what is lost in `Outstanding`, from acknowledgements and from time."""

    def __init__(self, outstanding: Outstanding, rtt: RoundTripTime) -> None:
        self._outstanding = outstanding
        self._rtt = rtt
        self._fresh: list[Sent] = []
        self._head = 0
        self._resent: list[Sent] = []
        self._forgotten: tuple[list[Sent], list[Sent]] = ([], [])
        "What the logs were before the last timeout."
        self._newest_at = -1.0
        self._newest_tsn = -1
        "When the most lately sent packet that has arrived was sent, and its TSN."
        self._newest_rtt = 0.0
        self._highest_sacked = -1
        self.window = ReorderingWindow(rtt)
        self.recovery_point = -1
        "The window is not cut again for losses up to this TSN."
        self.overdue_at: float | None = None
        "When packets that are missing now become lost ones."
        self.path = DeliveryRate()

    def sent(self, first: int, last: int, now: float) -> None:
        """New data has left."""
        if self._head == len(self._fresh) and not self._resent:
            self.path.restart(now)
        self._fresh.append(Sent(first, last, now, self.path, self._outstanding.flight))

    def resent(self, first: int, last: int, now: float) -> None:
        """Lost data has left again."""
        if self._head == len(self._fresh) and not self._resent:
            self.path.restart(now)
        self._resent.append(Sent(first, last, now, self.path, self._outstanding.flight))

    def acknowledged(self, size: int, news: list[tuple[int, int]], before: int, now: float) -> float | None:
        """Take a SACK that is entered in `Outstanding` already; returns a round trip time if it shows one.

        ``news`` are the ranges that were selectively acknowledged for the first time, ``before`` is the
        cumulative TSN that was valid until now.
        """
        outstanding = self._outstanding
        cumulative = outstanding.cumulative
        self.path.arrived(size, now)
        highest = news[-1][1] if news else -1
        if cumulative > before and cumulative > highest:
            highest = cumulative
        rtt = None
        fresh, head = self._fresh, self._head
        if highest >= 0 and head < len(fresh):
            index = bisect_right(fresh, highest, lo=head, key=_first) - 1
            if index >= head and highest <= fresh[index].last:
                rtt = self._note(fresh[index], highest, now)
            if news and news[0][0] < self._highest_sacked and fresh[head].first <= news[0][0]:
                self._note_late(news, now)
        if news and news[-1][1] > self._highest_sacked:
            self._highest_sacked = news[-1][1]
        if self._resent:
            self._note_resent(cumulative, now)
        while head < len(fresh) and fresh[head].last <= cumulative:
            head += 1
        if head < len(fresh) and fresh[head].first <= cumulative:
            fresh[head].first = cumulative + 1
        if head > _COMPACT_AT and 2 * head > len(fresh):
            del fresh[:head]
            head = 0
        self._head = head
        return rtt

    def _note(self, train: Sent, tsn: int, now: float) -> float:
        rtt = now - train.sent_at
        if (train.sent_at, tsn) > (self._newest_at, self._newest_tsn):
            self._newest_at = train.sent_at
            self._newest_tsn = tsn
            self._newest_rtt = rtt
            self.path.sample(train, now)
        return rtt

    def _note_late(self, news: list[tuple[int, int]], now: float) -> None:
        """Packets that others had overtaken have arrived, the first time they were sent."""
        fresh = self._fresh
        latest = 0.0
        for first, _ in news:
            if first >= self._highest_sacked:
                break
            index = bisect_right(fresh, first, lo=self._head, key=_first) - 1
            if index >= self._head and first <= fresh[index].last:
                latest = max(latest, now - fresh[index].sent_at - self._newest_rtt)
        self.window.late(latest, now)

    def _note_resent(self, cumulative: int, now: float) -> None:
        sacked = self._outstanding.sacked
        kept: list[Sent] = []
        for train in self._resent:
            if train.last > cumulative and (
                not sacked or sacked.holes(max(train.first, cumulative + 1), train.last)
            ):
                kept.append(train)
                continue
            # An answer that came too fast was to its first copy: it proves nothing (RFC 8985 section 6.2).
            took = now - train.sent_at
            if took < (self._rtt.min_s or 0.0):
                self.window.late(self.window.seconds + took, now)
            elif (train.sent_at, train.last) > (self._newest_at, self._newest_tsn):
                self._newest_at = train.sent_at
                self._newest_tsn = train.last
                self._newest_rtt = took
        self._resent = kept

    def _reordering_window(self) -> float:
        window = self.window
        if not window.is_seen:
            is_recovering = self._outstanding.cumulative < self.recovery_point
            if is_recovering or self._outstanding.sacked.count >= _ENOUGH_ACKNOWLEDGED:
                return 0.0
        return window.seconds

    def detect(self, now: float) -> list[tuple[int, int]]:
        """Mark what is lost by now in `Outstanding.lost`; returns those TSNs, and sets `overdue_at`."""
        self.overdue_at = None
        if (
            not self._outstanding.sacked
            and not self._resent
            and self._newest_tsn <= self._outstanding.cumulative
        ):
            return []
        patience = self._newest_rtt + self._reordering_window() - _INSTANT_S
        fresh, head = self._fresh, self._head
        lost: list[tuple[int, int]] = []
        while head < len(fresh):
            done, some = self._judge(fresh[head], patience, now)
            lost += some
            if not done:
                break
            head += 1
        self._head = head
        if self._resent:
            kept: list[Sent] = []
            for train in self._resent:
                done, some = self._judge(train, patience, now)
                lost += some
                if not done:
                    kept.append(train)
            self._resent = kept
        return lost

    def _judge(self, train: Sent, patience: float, now: float) -> tuple[bool, list[tuple[int, int]]]:
        """Whether nothing of this train is in question any more, and which TSNs of it are lost."""
        if train.sent_at > self._newest_at:
            return False, []
        end = train.last
        if train.sent_at == self._newest_at and self._newest_tsn < end:
            end = self._newest_tsn
            if end < train.first:
                return False, []
        outstanding = self._outstanding
        first = max(train.first, outstanding.cumulative + 1)
        lost: list[tuple[int, int]] = []
        if first <= end:
            if now < train.sent_at + patience:
                if not outstanding.sacked or outstanding.sacked.holes(first, end):
                    due = train.sent_at + patience
                    self.overdue_at = due if self.overdue_at is None else min(due, self.overdue_at)
                    return False, []
            else:
                lost = outstanding.lose(first, end)
        if end == train.last:
            return True, lost
        train.first = end + 1
        return False, lost

    def last_sent(self) -> int | None:
        """The TSN that left last and is not acknowledged: what a tail loss probe repeats."""
        latest = None
        if self._head < len(self._fresh):
            latest = self._fresh[-1]
        if self._resent and (latest is None or self._resent[-1].sent_at > latest.sent_at):
            latest = self._resent[-1]
        if latest is None:
            return None
        tsn = latest.last
        if tsn <= self._outstanding.cumulative or tsn in self._outstanding.sacked:
            return None
        return tsn

    def probe_sent(self, tsn: int, now: float) -> None:
        """This TSN has left once more without having been taken for lost."""
        for log, head in ((self._fresh, self._head), (self._resent, 0)):
            if len(log) > head and log[-1].last == tsn:
                log[-1].last = tsn - 1
                if log[-1].first == tsn:
                    log.pop()
        self.resent(tsn, tsn, now)

    def forget(self) -> None:
        """A timeout: all that is outstanding is marked lost and will be logged anew."""
        if self._head < len(self._fresh) or not self._forgotten[0]:
            self._forgotten = (self._fresh[self._head :], self._resent)
        self._fresh = []
        self._head = 0
        self._resent = []
        self.overdue_at = None
        self._newest_at = -1.0
        self._newest_tsn = -1

    def remember(self) -> None:
        """The timeout was needless: what is marked lost and was not sent again is on its way still."""
        lost = self._outstanding.lost
        fresh, resent = (
            [
                train.part(first, last)
                for train in trains
                for first, last in lost.within(train.first, train.last)
            ]
            for trains in self._forgotten
        )
        self._forgotten = ([], [])
        self._fresh = fresh + self._fresh[self._head :]
        self._head = 0
        self._resent = resent + self._resent
        self._outstanding.find_again()
