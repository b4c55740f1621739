"""CUBIC (RFC 9438) with HyStart++ (RFC 9406), counted in bytes."""

from __future__ import annotations

from p2pshare.rtc.sctp.tx.congestion import Acknowledgement

_CUBIC_C = 0.4
_CUBIC_BETA = 0.7
_RENO_FRIENDLY_ALPHA = 3 * (1 - _CUBIC_BETA) / (1 + _CUBIC_BETA)
_MINIMUM_PACKETS = 4
_WINDOW_AT_MOST = 1 << 28

# On a path of less than a millisecond random loss keeps such a window at a few packets, long before the path
# is full, and it is the trains that make this fast. So the window does not stay below what the path delivers
# in half a millisecond, which pacing lets through at once; from a round trip of 2 ms on, no cut goes below.
_KEPT_S = 0.0005
_KEPT_PACKETS_AT_MOST = 64
_RATE_GAIN = 1 / 16

_HYSTART_MIN_THRESHOLD_S = 0.004
_HYSTART_MAX_THRESHOLD_S = 0.016
_HYSTART_SAMPLES = (
    4  # RFC 9406 has 8, of a receiver that acknowledges every packet: here one stands for a train
)
_CONSERVATIVE_GROWTH = 4
_CONSERVATIVE_ROUNDS = 5

_SLOW_START_PACE = 2.0
_AVOIDANCE_PACE = 1.25


class Cubic:
    """CUBIC with HyStart++."""

    def __init__(self, packet_size: int, initial_packets: int) -> None:
        self._packet = packet_size
        self.window = initial_packets * packet_size
        self._threshold = _WINDOW_AT_MOST
        self._smoothed_rtt: float | None = None
        self._rate = 0.0
        "Bytes a second that arrived lately: quick to rise, slow to fall."
        # Congestion avoidance: RFC 9438 section 4.
        self._window_max = 0.0
        self._epoch_at: float | None = None
        self._epoch_window = 0.0
        self._plateau_after = 0.0
        self._reno_window = 0.0
        self._fraction = 0.0
        self._acked_at = 0.0
        self._before_cut: tuple[int, int, float] | None = None
        "Window, threshold and aim of before the last cut, should it prove needless."
        # HyStart++: RFC 9406 section 4.2.
        self._round_end = -1
        self._round_min: float | None = None
        self._last_round_min: float | None = None
        self._round_samples = 0
        self._conservative_rounds = 0
        self._conservative_baseline = 0.0

    @property
    def is_in_slow_start(self) -> bool:
        """The window still doubles each round."""
        return self.window < self._threshold

    @property
    def pacing_rate(self) -> float | None:
        """The window a round trip, and a bit faster, so that pacing does not hold the window back itself."""
        if self._smoothed_rtt is None:
            return None
        factor = _SLOW_START_PACE if self.is_in_slow_start else _AVOIDANCE_PACE
        return factor * self.window / self._smoothed_rtt

    def set_packet_size(self, size: int) -> None:
        """Keep the window in bytes; its floor and its growth follow the packets."""
        self._packet = size
        self.window = max(self.window, _MINIMUM_PACKETS * size)

    def on_acknowledgement(self, ack: Acknowledgement) -> None:
        """Grow, unless the window was not the limit or losses are being repaired."""
        self._smoothed_rtt = ack.smoothed_rtt_s
        self._acked_at = ack.now
        if ack.delivery_rate is not None and (ack.delivery_rate > self._rate or not ack.rate_is_limited):
            self._rate = max(ack.delivery_rate, self._rate + (ack.delivery_rate - self._rate) * _RATE_GAIN)
        slow = self.is_in_slow_start
        if slow and ack.rtt_s is not None:
            self._watch_delay(ack, ack.rtt_s)
        if ack.is_recovering or not ack.was_limited:
            return
        if slow or self.window < self._kept:
            growth = ack.acked
            if self._conservative_rounds:
                growth //= _CONSERVATIVE_GROWTH
            self.window = min(self.window + growth, _WINDOW_AT_MOST)
        else:
            self._avoid_congestion(ack)

    def _watch_delay(self, ack: Acknowledgement, rtt: float) -> None:
        if ack.cumulative >= self._round_end:
            self._round_end = ack.next_tsn
            self._last_round_min = self._round_min
            self._round_min = None
            self._round_samples = 0
            if self._conservative_rounds:
                self._conservative_rounds += 1
                if self._conservative_rounds > _CONSERVATIVE_ROUNDS:
                    self._threshold = self.window
                    self._conservative_rounds = 0
                    return
        self._round_min = rtt if self._round_min is None else min(rtt, self._round_min)
        self._round_samples += 1
        if self._round_samples < _HYSTART_SAMPLES or self._last_round_min is None:
            return
        if self._conservative_rounds:
            if self._round_min < self._conservative_baseline:
                self._conservative_rounds = 0  # the delay was jitter: on with slow start
            return
        threshold = min(max(self._last_round_min / 8, _HYSTART_MIN_THRESHOLD_S), _HYSTART_MAX_THRESHOLD_S)
        if self._round_min >= self._last_round_min + threshold:
            self._conservative_baseline = self._round_min
            self._conservative_rounds = 1

    def _avoid_congestion(self, ack: Acknowledgement) -> None:
        packet = self._packet
        window = float(self.window)
        if self._epoch_at is None:
            self._epoch_at = ack.now
            self._epoch_window = window
            self._reno_window = window
            if window < self._window_max:
                self._plateau_after = ((self._window_max - window) / packet / _CUBIC_C) ** (1 / 3)
            else:
                self._plateau_after = 0.0
                self._window_max = window
        elapsed = ack.now - self._epoch_at + (ack.smoothed_rtt_s or 0.0)
        target = self._window_max + _CUBIC_C * packet * (elapsed - self._plateau_after) ** 3
        target = min(max(target, window), 1.5 * window)
        alpha = 1.0 if self._reno_window >= self._window_max else _RENO_FRIENDLY_ALPHA
        self._reno_window += alpha * packet * ack.acked / window
        if target < self._reno_window:
            grown = max(self.window, int(self._reno_window))
        else:
            self._fraction += (target - window) * ack.acked / window
            grown = self.window + int(self._fraction)
            self._fraction %= 1
        self.window = min(grown, _WINDOW_AT_MOST)

    @property
    def _kept(self) -> int:
        return min(int(self._rate * _KEPT_S), _KEPT_PACKETS_AT_MOST * self._packet)

    def on_loss(self, now: float, flight: int) -> None:
        """Cut the window to 0.7 of it, and aim lower if the last was not reached (RFC 9438 section 4.7)."""
        window = self.window
        self._before_cut = (window, self._threshold, self._window_max)
        if window < self._window_max:
            self._window_max = window * (1 + _CUBIC_BETA) / 2
        else:
            self._window_max = float(window)
        floor = max(min(self._kept, window), _MINIMUM_PACKETS * self._packet)
        self._threshold = self.window = max(int(window * _CUBIC_BETA), floor)
        self._epoch_at = None
        self._fraction = 0.0
        self._conservative_rounds = 0

    def on_timeout(self, now: float) -> None:
        """Begin anew with slow start up to 0.7 of the window there was (RFC 9438 section 4.8)."""
        if self.window > _MINIMUM_PACKETS * self._packet:  # else another timeout after the first
            self._before_cut = (self.window, self._threshold, self._window_max)
        self._window_max = float(self.window)
        self._threshold = max(int(self.window * _CUBIC_BETA), _MINIMUM_PACKETS * self._packet)
        self.window = _MINIMUM_PACKETS * self._packet
        self._epoch_at = None
        self._fraction = 0.0
        self._conservative_rounds = 0

    def undo(self, now: float) -> None:
        """Take the last cut back (RFC 9438 section 4.9)."""
        if self._before_cut is None:
            return
        window, self._threshold, self._window_max = self._before_cut
        self._before_cut = None
        self.window = max(self.window, window)
        self._epoch_at = None
        self._fraction = 0.0

    def on_idle(self, now: float) -> None:
        """The window does not grow while nothing is in flight (RFC 9438 section 5.8)."""
        if self._epoch_at is not None:
            self._epoch_at += now - self._acked_at
