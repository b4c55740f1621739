"""The sending half as a whole: takes messages, gives trains, learns from SACKs and from time.

Nothing here knows of handshakes or control chunks. The order in `write()` is that of urgency: what is lost
goes first, then new data; a train is begun only when the window has room for all of it, or nothing is in
flight: otherwise acknowledgements would clock out single packets, and the gain of trains were lost (84
instead of 316 MB/s).
"""

from __future__ import annotations

from p2pshare.rtc.sctp.config import AssociationConfig
from p2pshare.rtc.sctp.packet import Sack, extended
from p2pshare.rtc.sctp.stats import Counters
from p2pshare.rtc.sctp.tx.congestion import Acknowledgement, CongestionControl
from p2pshare.rtc.sctp.tx.message import Message
from p2pshare.rtc.sctp.tx.needless import Needless
from p2pshare.rtc.sctp.tx.outbox import Outbox, Train
from p2pshare.rtc.sctp.tx.outstanding import Outstanding
from p2pshare.rtc.sctp.tx.pacing import Pacer
from p2pshare.rtc.sctp.tx.partial import Abandonment
from p2pshare.rtc.sctp.tx.recovery import Recovery
from p2pshare.rtc.sctp.tx.rto import RoundTripTime
from p2pshare.rtc.sctp.tx.send_queue import SendQueue
from p2pshare.rtc.sctp.tx.train import TrainBuilder

_WINDOW_SHARE = 3  # a train takes at most a third of the window, so that acknowledgements keep coming
# A window of which two thirds are in flight is in use: pacing and trains seldom fill it to the brim.
_FILLED = 1.5
_DUPLICATES_LOOKED_AT = 32
_HEADERS_OF_A_TRAIN = 2_048


class Sender:
    """Data on its way to the peer."""

    def __init__(
        self,
        config: AssociationConfig,
        outbox: Outbox,
        queue: SendQueue,
        congestion: CongestionControl,
        rtt: RoundTripTime,
        counters: Counters,
        next_tsn: int,
        peer_window: int,
        now: float,
    ) -> None:
        self._config = config
        self.queue = queue
        self.congestion = congestion
        self.rtt = rtt
        self._counters = counters
        self.outstanding = Outstanding(next_tsn)
        self.recovery = Recovery(self.outstanding, rtt)
        self.trains = TrainBuilder(outbox, queue, self.outstanding, counters)
        self.abandonment = Abandonment(queue, self.outstanding)
        self._pacer = Pacer()
        self._needless = Needless()
        self._has_timed_out = False
        "Nothing has shown yet whether the last timeout was needless."
        self.peer_window = peer_window
        self.max_train = config.max_train_to_foreigners
        self.is_foreign = True
        "The peer is not known to be one of ours: it may delay its SACKs and be short of buffers."
        self._was_limited = False
        self._blocked_until: float | None = None
        "Pacing allows nothing before."
        self._progress_at = now
        "When something was last acknowledged or sent; from a probe or a timeout on, when that was."
        self._probe_outstanding = False
        self._probe_tsn: int | None = None
        "To be sent once more, whatever the window says."
        self._skip_is_due = False
        self._interleaved = False
        queue.on_cut = self._cut_off

    def set_interleaved(self, interleaved: bool) -> None:
        """Send I-DATA instead of DATA."""
        self._interleaved = interleaved
        self.queue.interleaved = interleaved
        self.trains.set_interleaved(interleaved)

    def trust(self) -> None:
        """The peer is one of ours: it takes long trains and acknowledges at once."""
        self.is_foreign = False
        self.max_train = self._config.max_train

    def set_packet_size(self, size: int) -> None:
        """Packets have at most so many bytes from now on."""
        self.trains.set_packet_size(size)
        self.congestion.set_packet_size(self.trains.payload_size)

    # Sending

    def write(self, now: float) -> Train | None:
        """The next train; None when nothing may be sent now."""
        outstanding = self.outstanding
        self._blocked_until = None
        if self._probe_tsn is not None:
            tsn, self._probe_tsn = self._probe_tsn, None
            train = self._write_probe(tsn, now)
            if train is not None:
                return train
        congestion = self.congestion
        window = congestion.window
        flight = outstanding.flight
        rate = congestion.pacing_rate if self._config.pacing else None
        if not outstanding.lost and not self.queue.queued:
            if flight < window and (rate is None or self._pacer.wait(now) is None):
                self.recovery.path.limit(flight)
            return None
        if rate is not None:
            free_at = self._pacer.wait(now)
            if free_at is not None:
                self._blocked_until = free_at
                return None
        payload = self.trains.payload_size
        most = min(
            self.max_train,
            self._config.max_train_bytes // self.trains.packet_size,
            max(2, min(window, self.peer_window) // (_WINDOW_SHARE * payload)),
        )
        if rate is not None:
            most = self._pacer.train(rate, payload, most)
        if outstanding.is_empty:
            self._progress_at = now
            congestion.on_idle(now)
        if outstanding.lost:
            train = self._write_again(now, most, window - flight)
        else:
            train = self._write_new(now, most, payload, window, flight)
        if train is not None:
            if not self._probe_outstanding and not self.rtt.backoff:
                self._progress_at = now
            if rate is not None:
                self._pacer.sent(outstanding.flight - flight, rate, now, self.rtt.min_s or 0.0)
        return train

    def _write_again(self, now: float, most: int, room: int) -> Train | None:
        if room <= 0 and self.outstanding.flight > 0:
            return None
        if self.queue.has_limited:
            self._give_up_expired(now)
            if not self.outstanding.lost:
                return None
        if self.peer_window <= 0 and not self.outstanding.sacked:
            # There is always room to fill a hole, but this is none: one packet asks whether there is room
            # again.
            if self.outstanding.flight > 0:
                return None
            most = 1
        # Packets may be larger than they are now, from before the path's size went down: bytes count too.
        room = min(max(room, 1), self._config.max_train_bytes - _HEADERS_OF_A_TRAIN)
        train, ranges = self.trains.build_again(most, room)
        for first, last in ranges:
            self.recovery.resent(first, last, now)
            self._needless.resent(first, last)
        return train

    def _write_new(self, now: float, most: int, payload: int, window: int, flight: int) -> Train | None:
        wanted = min(most * payload, self.queue.queued)
        room = window - flight
        peer_room = self.peer_window - flight
        if flight > 0 and (room < wanted or peer_room < wanted):
            if room < wanted:
                self._was_limited = True
            return None
        first = self.outstanding.next_tsn
        train = self.trains.build(now, most, max(0, min(room, peer_room)))
        if self.queue.expired:
            self.abandonment.abandoned += [(message, message.size) for message in self.queue.expired]
            self.queue.expired.clear()
        if train is None:
            return None
        last = self.outstanding.next_tsn - 1
        self.recovery.sent(first, last, now)
        return train

    def _cut_off(self, message: Message) -> None:
        """A message's time was over when a part of it had left: the peer must skip it."""
        self.abandonment.abandon(message, is_queued=False)
        self._skip_is_due = True

    def _give_up_expired(self, now: float) -> None:
        for first, last in list(self.outstanding.lost):
            for run in self.outstanding.runs_between(first, last):
                message = run.message
                if message.expires_at is not None and message.expires_at <= now and not message.abandoned:
                    self.abandonment.abandon(message)
                    self._skip_is_due = True

    def take_skip(self) -> bytes | None:
        """The FORWARD-TSN that is due, if any."""
        if not self._skip_is_due:
            return None
        self._skip_is_due = False
        return self.abandonment.chunk(self._interleaved)

    # Acknowledgements

    def on_sack(self, sack: Sack, now: float) -> bool:
        """Take a SACK. Returns False for one that acknowledges what was not sent: it is not believed."""
        outstanding = self.outstanding
        before = outstanding.cumulative
        cumulative = extended(sack.cumulative_tsn, before)
        if cumulative < before:
            return True  # an older one, overtaken
        highest = outstanding.next_tsn - 1
        gaps = sack.gaps
        if cumulative > highest or (gaps and cumulative + max(gaps) > highest):
            return False
        flight_before = outstanding.flight
        late_before = outstanding.late
        acked = 0
        if cumulative > before:
            acked = outstanding.acknowledge(cumulative)
        news: list[tuple[int, int]] = []
        for at in range(0, len(gaps), 2):
            size, fresh = outstanding.sack(cumulative + gaps[at], cumulative + gaps[at + 1])
            if fresh:
                acked += size
                news += fresh
        if len(news) > 1:
            news.sort()
        self.peer_window = sack.window
        if sack.duplicates and self._counters.chunks_retransmitted:
            self._note_duplicates(sack.duplicates, cumulative, now)
        if cumulative == before and not news:
            if self.queue.has_limited:
                self._skip_is_due = True
            return True
        self._progress_at = now
        self._probe_outstanding = False
        rtt_s = self.recovery.acknowledged(acked, news, before, now)
        if rtt_s is not None:
            self.rtt.sample(rtt_s, now)
        if cumulative > before or rtt_s is not None:
            self.rtt.backoff = 0
        if outstanding.late > late_before:
            self._note_late(now)
        if cumulative >= self.recovery.recovery_point:
            self._has_timed_out = False
        self._find_lost(now, flight_before)
        congestion = self.congestion
        if self._needless.is_proved(is_something_lost=bool(outstanding.lost)):
            self._counters.needless_recoveries += 1
            congestion.undo(now)
        rtt = self.rtt
        recovery = self.recovery
        path = recovery.path
        congestion.on_acknowledgement(
            Acknowledgement(
                now,
                acked,
                outstanding.flight,
                rtt_s,
                rtt.smoothed_s,
                rtt.min_s,
                cumulative,
                outstanding.next_tsn,
                self._was_limited or _FILLED * flight_before >= congestion.window,
                cumulative < recovery.recovery_point,
                path.rate,
                path.is_limited,
                path.delivered,
                path.lost,
                path.sent_delivered,
                path.sent_lost,
                path.sent_flight,
            )
        )
        path.rate = None
        self._was_limited = False
        if self.queue.has_limited:
            self._skip_is_due = True
        return True

    def _note_duplicates(self, duplicates: tuple[int, ...], cumulative: int, now: float) -> None:
        is_ours = False
        for duplicate in duplicates[:_DUPLICATES_LOOKED_AT]:
            is_ours = self._needless.duplicate(extended(duplicate, cumulative)) or is_ours
        if is_ours:
            self.recovery.window.needless(now)

    def _note_late(self, now: float) -> None:
        """Something that was taken for lost has arrived without having been sent again."""
        self._needless.late()
        if self._has_timed_out:  # F-RTO (RFC 5682)
            self._has_timed_out = False
            self._counters.needless_recoveries += 1
            self.recovery.remember()
            self._needless.settle()
            self.congestion.undo(now)
        else:
            self.recovery.window.needless(now)

    def _find_lost(self, now: float, flight_before: int) -> None:
        outstanding = self.outstanding
        flight = outstanding.flight
        news = self.recovery.detect(now)
        if not news:
            return
        self.recovery.path.lost += flight - outstanding.flight
        self._judge(news, now)
        if news[-1][1] > self.recovery.recovery_point:
            self.recovery.recovery_point = outstanding.next_tsn - 1
            self.recovery.window.recovery_began()
            self._needless.began()
            self._counters.loss_events += 1
            self.congestion.on_loss(now, flight_before)

    def _judge(self, lost: list[tuple[int, int]], now: float) -> None:
        if self.queue.has_limited:
            for first, last in lost:
                self.abandonment.judge(first, last, now)
            self._skip_is_due = True

    # Time

    def next_timer(self) -> float | None:
        """When `on_timer()` has something to do."""
        due = self._blocked_until
        overdue_at = self.recovery.overdue_at
        if overdue_at is not None and (due is None or overdue_at < due):
            due = overdue_at
        if not self.outstanding.is_empty:
            timeout = self._progress_at + self._patience()
            if due is None or timeout < due:
                due = timeout
        return due

    def _patience(self) -> float:
        if self._probe_outstanding or self.rtt.backoff or self.outstanding.flight <= 0:
            return self.rtt.timeout_s
        is_lone = self.outstanding.flight <= self.trains.payload_size
        return self.rtt.probe_timeout_s(may_be_delayed=is_lone and self.is_foreign)

    def on_timer(self, now: float) -> None:
        """Act on what is due; what is to be sent comes from `write()`."""
        overdue_at = self.recovery.overdue_at
        if overdue_at is not None and overdue_at <= now:
            self._find_lost(now, self.outstanding.flight)
        if self.outstanding.is_empty or self._progress_at + self._patience() > now:
            return
        if self._probe_outstanding or self.rtt.backoff or self.outstanding.flight <= 0:
            self._time_out(now)
        else:
            self._probe_outstanding = True
            self._progress_at = now
            self._probe_tsn = self.recovery.last_sent()

    def _write_probe(self, tsn: int, now: float) -> Train | None:
        """Send the last packet again, so that its SACK shows what is missing (RFC 8985 section 7)."""
        outstanding = self.outstanding
        if tsn <= outstanding.cumulative or any(
            tsn in some for some in (outstanding.sacked, outstanding.lost, outstanding.abandoned)
        ):
            return None
        self._counters.probes += 1
        self.recovery.probe_sent(tsn, now)
        return self.trains.build_one_again(tsn)

    def _time_out(self, now: float) -> None:
        """Nothing came for a whole timeout: all is lost, the window begins anew (RFC 9260 section 6.3.3)."""
        outstanding = self.outstanding
        self._progress_at = now
        self._probe_outstanding = False
        is_probing_window = self.peer_window <= 0
        self.rtt.backoff = min(self.rtt.backoff + 1, 10)
        self._counters.timeouts += 1
        lost = outstanding.lose_everything()
        self.recovery.forget()
        self.recovery.recovery_point = outstanding.next_tsn - 1
        self._has_timed_out = True
        self._needless.began()
        if not is_probing_window:
            self.congestion.on_timeout(now)
        self._judge(lost, now)
