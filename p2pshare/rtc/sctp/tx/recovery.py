"""Which packets are lost: by time, after RACK (RFC 8985), with a tail loss probe and, at last, a timeout.

A packet is lost when one that was sent later has arrived and it is overdue by the time that reordering may
take. Times are kept per train, not per packet: packets of a train left at the same moment, their order is
that of their TSNs. New data and retransmissions are logged apart, so that the log of new data is ordered by
TSN as well.
"""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter

from p2pshare.rtc.sctp.tx.outstanding import Outstanding
from p2pshare.rtc.sctp.tx.rto import RoundTripTime

_first = attrgetter("first")
_COMPACT_AT = 256
_ENOUGH_ACKNOWLEDGED = 3
_WINDOW_STEPS_AT_MOST = 8
_INSTANT_S = 1e-6
_WIDE_WINDOW_RECOVERIES = 16


class Sent:
    """A train, or a part of one: consecutive TSNs that left at one moment."""

    __slots__ = ("delivered", "delivered_at", "first", "is_limited", "last", "sent_at")

    def __init__(
        self, first: int, last: int, sent_at: float, delivered: int, delivered_at: float, limited: bool
    ) -> None:
        self.first = first
        self.last = last
        self.sent_at = sent_at
        self.delivered = delivered
        "Bytes that had been acknowledged when it left: for the delivery rate."
        self.delivered_at = delivered_at
        self.is_limited = limited
        "The application had nothing more to send: the delivery rate may be higher than measured."


class Recovery:
    """Finds what is lost in `Outstanding`, from acknowledgements and from time."""

    def __init__(self, outstanding: Outstanding, rtt: RoundTripTime) -> None:
        self._outstanding = outstanding
        self._rtt = rtt
        self._fresh: list[Sent] = []
        self._head = 0
        self._resent: list[Sent] = []
        self._newest_at = -1.0
        self._newest_tsn = -1
        "When the most lately sent packet that has arrived was sent, and its TSN."
        self._newest_rtt = 0.0
        self._highest_sacked = -1
        self._reordering_seen = False
        self._window_steps = 1
        self._keep_steps_for = 0
        self.recovery_point = -1
        "The window is not cut again for losses up to this TSN."
        self.overdue_at: float | None = None
        "When packets that are missing now become lost ones."
        self.delivered = 0
        self.delivered_at = 0.0
        self.delivery_rate: float | None = None
        "Bytes a second between the sending of the newest acknowledged train and its acknowledgement."
        self.rate_is_limited = False

    def sent(self, first: int, last: int, now: float, limited: bool = False) -> None:
        """New data has left."""
        if self._head == len(self._fresh) and not self._resent:
            self.delivered_at = now  # idle until now: the rate is measured from here
        self._fresh.append(Sent(first, last, now, self.delivered, self.delivered_at, limited))

    def resent(self, first: int, last: int, now: float) -> None:
        """Lost data has left again."""
        self._resent.append(Sent(first, last, now, self.delivered, self.delivered_at, False))

    def acknowledged(self, size: int, news: list[tuple[int, int]], before: int, now: float) -> float | None:
        """Take a SACK that is entered in `Outstanding` already; returns a round trip time if it shows one.

        ``news`` are the ranges that were selectively acknowledged for the first time, ``before`` is the
        cumulative TSN that was valid until now.
        """
        outstanding = self._outstanding
        cumulative = outstanding.cumulative
        self.delivered += size
        self.delivered_at = now
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
                self._reordering_seen = True
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
        span = now - min(train.delivered_at, train.sent_at)
        if span > 0:
            self.delivery_rate = (self.delivered - train.delivered) / span
            self.rate_is_limited = train.is_limited
        return rtt

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
            is_newer = (train.sent_at, train.last) > (self._newest_at, self._newest_tsn)
            if is_newer and now - train.sent_at >= (self._rtt.min_s or 0.0):
                self._newest_at = train.sent_at
                self._newest_tsn = train.last
                self._newest_rtt = now - train.sent_at
        self._resent = kept

    def duplicate_reported(self) -> None:
        """A packet was sent again for nothing: allow for more reordering (RFC 8985 section 6.2)."""
        self._reordering_seen = True
        self._window_steps = min(self._window_steps + 1, _WINDOW_STEPS_AT_MOST)
        self._keep_steps_for = _WIDE_WINDOW_RECOVERIES

    def recovery_began(self) -> None:
        """The congestion window was cut."""
        if self._keep_steps_for:
            self._keep_steps_for -= 1
            if not self._keep_steps_for:
                self._window_steps = 1

    def _reordering_window(self) -> float:
        if not self._reordering_seen:
            is_recovering = self._outstanding.cumulative < self.recovery_point
            if is_recovering or self._outstanding.sacked.count >= _ENOUGH_ACKNOWLEDGED:
                return 0.0
        rtt = self._rtt
        return min(self._window_steps * (rtt.min_s or 0.0) / 4, rtt.smoothed_s or 0.0)

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
        self._fresh.clear()
        self._head = 0
        self._resent.clear()
        self.overdue_at = None
        self._newest_at = -1.0
        self._newest_tsn = -1
