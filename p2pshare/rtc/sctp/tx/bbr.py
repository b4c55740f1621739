"""Congestion control by a model of the path, after BBR version 3 (draft-ietf-ccwg-bbr-03), counted in bytes.

The window is a multiple of the path's rate times its shortest round trip, and what leaves is paced at that
rate. Every few seconds a quarter more is sent for a round trip, to see whether the path carries it, and
then less, until the queue that this made is gone.

What differs from the draft, and why it stays fair:

- **Loss alone is no congestion.** The draft takes a loss of 2 % for it; radio paths lose as much without
  being full. Here the 2 % are what comes on top of what the path loses while less is sent than it carries,
  measured after each probe, while probing, where the queue may be too short to be seen. When a queue shows
  (each round trip of a round well above the shortest) half a percent counts. So a shared bottleneck that
  overflows is heard: its queue is full when it does. A bottleneck with hardly a queue is heard by the
  probes; and a loss of a tenth more than the path has at rest counts always.
- **Where others keep a queue, the window is smaller but for probes,** or flows that met would keep their
  shares for ever: windows divide a queue, and each was a fixed multiple of what its flow had.
- **The shortest round trip is confirmed by any that comes near it,** as each probe's end brings on a path
  that is ours alone: the window is emptied to look for it (`Mode.PROBE_RTT`) only where others keep a
  queue.
- **Less is sent after a probe for some rounds at most,** or jitter, which looks like a queue that never
  drains, would cost a tenth of the rate.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from p2pshare.rtc.sctp.tx.congestion import Acknowledgement
from p2pshare.rtc.sctp.tx.path_model import PathModel


class Mode(Enum):
    """What is being done."""

    STARTUP = auto()
    "Double the rate each round, until it does not grow any more."
    DRAIN = auto()
    "Let go of the queue that this made."
    DOWN = auto()
    "Send less than the path carries, until nothing waits."
    CRUISE = auto()
    "Send what it carries."
    REFILL = auto()
    "Fill it, for one round, before the probe."
    UP = auto()
    "Send more, to see whether it carries more."
    PROBE_RTT = auto()
    "Send little, to see how short a round trip is."


_PACE = {
    Mode.STARTUP: 2.77,
    Mode.DRAIN: 0.5,
    Mode.DOWN: 0.9,
    Mode.CRUISE: 1.0,
    Mode.REFILL: 1.0,
    Mode.UP: 1.25,
    Mode.PROBE_RTT: 1.0,
}
"What is sent, in multiples of the path's rate."
_WINDOW = dict.fromkeys(Mode, 2.0) | {Mode.UP: 2.25, Mode.PROBE_RTT: 0.5}
"What may be in flight, in bandwidth-delay products,"
_WINDOW_QUEUED = {Mode.DOWN: 1.5, Mode.CRUISE: 1.5, Mode.REFILL: 1.5}
"""and where others keep a queue. Then windows share the path, not paces: a flow that has little gains on one
that has much only if a probe's window is a good deal larger than that of the rest of the time."""

_MINIMUM_PACKETS = 4
_WINDOW_AT_MOST = 1 << 28
_MARGIN = 0.99  # a bit less than the path was seen to carry, so that a queue empties in the end
_BETA = 0.7
_HEADROOM = 0.85  # of the most that may be in flight, so that others find room
_GROWTH = 1.25
_ROUNDS_WITHOUT_GROWTH = 3
_DOWN_ROUNDS = 2  # one of them shows what is lost while less is sent than the path carries
_DOWN_ROUNDS_AT_MOST = 4
_PROBE_EVERY_S = 2.0
_PROBE_ROUNDS_AT_MOST = 63
_PROBE_ROUNDS = 2
_PROBE_GROWTH = 1.1
_PROBE_ROUNDS_IF_GROWING = 8
_PROBE_ROUNDS_IF_BOUND = 8
_PROBE_STEP = 1 / 64
_PROBE_RTT_AFTER_S = 5.0
_PROBE_RTT_S = 0.2
_QUANTUM_S = 0.002
_QUANTA = 3
_NO_BOUND = float("inf")


class Bbr:
    """BBR. ``random`` gives so many unpredictable bytes: probes of several flows must not keep step."""

    def __init__(self, packet_size: int, initial_packets: int, random: Callable[[int], bytes]) -> None:
        self._packet = packet_size
        self._random = random
        self.window = self._initial = initial_packets * packet_size
        self.mode = Mode.STARTUP
        self.path = PathModel()
        self._smoothed_rtt: float | None = None
        self._pace: float | None = None
        self._is_full = False
        "The path's rate was reached once."
        self._full_rate = 0.0
        self._rounds_without_growth = 0
        self._most = _NO_BOUND
        "Bytes in flight that were too many, the last time this was tried."
        self._rate_bound = _NO_BOUND
        self._flight_bound = _NO_BOUND
        "What congestion left of both, until the next probe."
        self._mode_round = 0
        self._began_at = 0.0
        "When the cycle began, and"
        self._began_round = 0
        "at which round."
        self._probe_after_s = _PROBE_EVERY_S
        self._rate_before_probe = _NO_BOUND
        self._ends_cycle = False
        self._probe_rtt_until: float | None = None
        self._window_before = 0
        self._before_timeout: int | None = None

    # What is asked

    @property
    def pacing_rate(self) -> float | None:
        """Bytes a second."""
        if self._pace is None and self._smoothed_rtt is not None:
            return _PACE[Mode.STARTUP] * self._initial / self._smoothed_rtt
        return self._pace

    @property
    def rate(self) -> float:
        """Bytes a second that the path carries, as far as is known."""
        return min(self.path.rate, self._rate_bound)

    def _product(self) -> float:
        """The bandwidth-delay product."""
        return self.rate * (self.path.min_rtt or 0.0)

    def _aim(self, gain: float) -> float:
        """So much in flight is ``gain`` bandwidth-delay products, and the trains under way."""
        return max(gain * self._product() + _QUANTA * self._quantum, _MINIMUM_PACKETS * self._packet)

    @property
    def _quantum(self) -> float:
        """What leaves at once."""
        return max(2 * self._packet, self.rate * _QUANTUM_S)

    def set_packet_size(self, size: int) -> None:
        """Packets carry so many bytes of payload from now on."""
        self._packet = size
        self.window = max(self.window, _MINIMUM_PACKETS * size)

    # What is told

    def on_acknowledgement(self, ack: Acknowledgement) -> None:
        """Learn from it, go on in the cycle, set pace and window."""
        self._smoothed_rtt = ack.smoothed_rtt_s
        self.path.update(ack, self._packet, is_gentle=_PACE[self.mode] < 1.0)
        if not self.path.rate or self.path.min_rtt is None:
            if ack.was_limited:
                self.window += ack.acked
            return
        self._heed_congestion()
        if not self._is_full:
            self._look_for_full()
        self._go_on(ack)
        self._look_for_round_trip(ack)
        self._set_pace()
        self._set_window(ack)

    def on_loss(self, now: float, flight: int) -> None:
        """The losses of each round are looked at together."""

    def on_timeout(self, now: float) -> None:
        """Send little until something comes back; what is known of the path stays."""
        if self._before_timeout is None:
            self._before_timeout = self.window
        self.window = _MINIMUM_PACKETS * self._packet

    def undo(self, now: float) -> None:
        """Nothing had been lost."""
        self._rate_bound = self._flight_bound = _NO_BOUND
        if self._before_timeout is not None:
            self.window = max(self.window, self._before_timeout)
            self._before_timeout = None

    def on_idle(self, now: float) -> None:
        """Nothing was in flight: no queue of ours is left, there is no need to look for the round trip."""
        self.path.probed_at = now

    # Congestion

    def _heed_congestion(self) -> None:
        path = self.path
        if not path.round_began or self.mode not in (Mode.DRAIN, Mode.DOWN, Mode.CRUISE):
            return
        if self._is_losing:
            rate = min(path.rate, self._rate_bound)
            flight = min(float(self.window), self._flight_bound)
            self._rate_bound = max(path.round_rate, _BETA * rate)
            self._flight_bound = max(float(path.round_arrived), _BETA * flight)

    @property
    def _is_losing(self) -> bool:
        """The last round lost more than the path does by itself."""
        path = self.path
        return path.is_too_much(
            path.round_lost, path.round_lost + path.round_arrived, self._packet, probing=False
        )

    def _has_probed_too_far(self, ack: Acknowledgement) -> bool:
        if ack.delivery_rate is None or ack.sent_flight <= 0:
            return False
        return self.path.is_too_much(ack.lost - ack.sent_lost, ack.sent_flight, self._packet, probing=True)

    # The cycle

    def _enter(self, mode: Mode) -> None:
        self.mode = mode
        self._mode_round = self.path.rounds

    @property
    def _rounds_in_mode(self) -> int:
        return self.path.rounds - self._mode_round

    def _look_for_full(self) -> None:
        path = self.path
        if not path.round_began or path.is_limited:
            return
        if path.round_rate >= _GROWTH * self._full_rate:
            self._full_rate = path.round_rate
            self._rounds_without_growth = 0
            return
        self._rounds_without_growth += 1
        is_losing = self._is_losing
        patience = _ROUNDS_WITHOUT_GROWTH - 1 if is_losing else _ROUNDS_WITHOUT_GROWTH
        self._is_full = self._rounds_without_growth >= patience
        if self._is_full and is_losing:
            self._most = max(self._product(), float(path.round_arrived))

    def _go_on(self, ack: Acknowledgement) -> None:
        mode, now = self.mode, ack.now
        if mode is Mode.STARTUP:
            if self._is_full:
                self._enter(Mode.DRAIN)
        elif mode is Mode.DRAIN:
            if ack.flight <= self._aim(1.0):
                self._begin_down(now)
        elif mode is Mode.DOWN:
            if self._ends_cycle and self.path.round_began:
                self._ends_cycle = False
                if not self.path.is_limited:
                    self.path.begin_cycle()
            if self._is_time_to_probe(now):
                self._begin_refill()
            elif self._rounds_in_mode >= _DOWN_ROUNDS and (
                ack.flight <= min(self._aim(1.0), _HEADROOM * self._most)
                or self._rounds_in_mode >= _DOWN_ROUNDS_AT_MOST
            ):
                self._enter(Mode.CRUISE)
        elif mode is Mode.CRUISE:
            if self._is_time_to_probe(now):
                self._begin_refill()
        elif mode is Mode.REFILL:
            if self._rounds_in_mode >= 1:
                self._enter(Mode.UP)
        elif mode is Mode.UP:
            self._probe(ack)

    def _begin_down(self, now: float) -> None:
        self._enter(Mode.DOWN)
        self._began_at = now
        self._began_round = self.path.rounds
        self._probe_after_s = _PROBE_EVERY_S + self._random(1)[0] / 255

    def _is_time_to_probe(self, now: float) -> bool:
        if now - self._began_at >= self._probe_after_s:
            return True
        has_found_more = self.path.rate >= _PROBE_GROWTH * self._rate_before_probe
        if self.mode is Mode.CRUISE and has_found_more and not self.path.is_queued:
            return True  # the last probe found a good deal more: there may be more still
        # As often as Reno would have grown by what a probe asks for, or it would never get that.
        rounds = min(self._product() / self._packet, _PROBE_ROUNDS_AT_MOST)
        return self.path.rounds - self._began_round >= rounds

    def _begin_refill(self) -> None:
        self._rate_bound = self._flight_bound = _NO_BOUND
        self._rate_before_probe = self.path.rate
        self._enter(Mode.REFILL)

    def _probe(self, ack: Acknowledgement) -> None:
        path = self.path
        if self._rounds_in_mode < 1:  # what arrives had left before the probe
            return
        if self._has_probed_too_far(ack):
            self._most = max(float(ack.sent_flight), _BETA * self._aim(1.0))
            self._end_probe(ack.now)
            return
        is_bound = ack.flight >= self._most - 2 * self._quantum  # a train leaves once all of it has room
        if is_bound:
            step = max(self._packet, self.window * _PROBE_STEP) * 2.0 ** (self._rounds_in_mode - 1)
            self._most += ack.acked * min(step / self.window, 1.0)
        if not path.round_began:
            return
        if (
            path.round_rate >= _PROBE_GROWTH * self._full_rate
            and self._rounds_in_mode < _PROBE_ROUNDS_IF_GROWING
        ):
            self._full_rate = path.round_rate
        elif (not path.is_queued and ack.flight >= self._aim(_PACE[Mode.UP])) or self._rounds_in_mode >= (
            _PROBE_ROUNDS_IF_BOUND if is_bound else _PROBE_ROUNDS
        ):
            self._end_probe(ack.now)

    def _end_probe(self, now: float) -> None:
        self._full_rate = self.path.rate
        self._ends_cycle = True
        self._begin_down(now)

    def _look_for_round_trip(self, ack: Acknowledgement) -> None:
        now, path = ack.now, self.path
        if self.mode is not Mode.PROBE_RTT:
            if self._is_full and now - max(path.seen_near_at, path.probed_at) > _PROBE_RTT_AFTER_S:
                self._window_before = self.window
                self._probe_rtt_until = None
                self._enter(Mode.PROBE_RTT)
            return
        if self._probe_rtt_until is None:
            if ack.flight <= self._aim(_WINDOW[Mode.PROBE_RTT]):
                self._probe_rtt_until = now + _PROBE_RTT_S
                self._mode_round = path.rounds
        elif now >= self._probe_rtt_until and self._rounds_in_mode >= 1:
            path.confirm_round_trip(now)
            self.window = max(self.window, self._window_before)
            self._rate_bound = self._flight_bound = _NO_BOUND
            self._begin_down(now)
            self._enter(Mode.CRUISE)

    # What comes of it

    def _set_pace(self) -> None:
        pace = _PACE[self.mode] * self.rate * _MARGIN
        if self._is_full or self._pace is None or pace > self._pace:
            self._pace = pace

    def _set_window(self, ack: Acknowledgement) -> None:
        gain = _WINDOW[self.mode]
        if self.path.is_queued:
            gain = _WINDOW_QUEUED.get(self.mode, gain)
        aim = self._aim(gain)
        if self._before_timeout is not None and not ack.is_recovering:
            self.window = max(self.window, self._before_timeout)
            self._before_timeout = None
        grown = self.window + ack.acked
        if self._is_full:
            window = min(float(grown), aim)
        elif self.window < aim or ack.delivered < 2 * self._initial:
            window = float(grown)
        else:
            window = float(self.window)
        most = self._most
        if self.mode is Mode.CRUISE or self.mode is Mode.PROBE_RTT:
            most *= _HEADROOM
        window = min(window, most, self._flight_bound, _WINDOW_AT_MOST)
        self.window = max(int(window), _MINIMUM_PACKETS * self._packet)
