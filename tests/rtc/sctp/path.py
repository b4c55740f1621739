"""A path between hosts, played: associations that share one bottleneck, on a clock of their own.

`Pair` (link.py) asks whether everything arrives; `Network` asks how fast, and at what price for others: it
plays a minute of 100 Mbit/s in some seconds. Whatever chance decides comes from one seed. Each end behaves
as the transport does (datapath/pump.py): it is woken by packets, no more often than `Path.reads_every_s`,
and by a timer that is no finer than a millisecond and may be late.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any, TypeAlias

from p2pshare.rtc.sctp import Association, AssociationConfig
from tests.rtc.sctp.link import give_all

TICK_S = 0.001
OVERHEAD = 65
"Bytes that DTLS, UDP and IP add to a packet."
MBIT = 125_000.0
SLICE_S = 0.1
_BATCH = 8
_MESSAGE = bytes(65_536)
_HIGH_WATER = 1 << 20

Event: TypeAlias = tuple[float, int, Callable[..., None], tuple[Any, ...]]

CONFIG = AssociationConfig(receive_window=3 << 20, initial_packet_size=1_432, pacing=True)
"What two of ours use on a path of 1,500 bytes."


@dataclass(frozen=True, slots=True)
class Path:
    """One way of a path; the way back is the same, but for `rate`: SACKs never wait."""

    delay_s: float = 0.05
    rate: float = 100 * MBIT
    "Bytes a second of the bottleneck."
    queue_bdp: float = 1.0
    "What its drop-tail queue holds, in bandwidth-delay products."
    loss: float = 0.0
    burst: float = 1.0
    "Packets that are lost in a row, on average."
    jitter_s: float = 0.0
    "Packets take up to so much less or more time, each by itself: they overtake one another."
    duplication: float = 0.0
    reads_every_s: float = 0.001
    late_s: float = 0.0
    "Timers come up to so much later than they should."
    stops: tuple[float, float] = (0.0, 0.0)
    "Nothing comes through between these two moments."

    @property
    def queue(self) -> float:
        return max(self.queue_bdp * self.rate * 2 * self.delay_s, 32 * 1_500)


class Host:
    """One association, woken as an event loop would."""

    def __init__(self, network: Network, association: Association) -> None:
        self.network = network
        self.association = association
        self.carry: Callable[[bytes], None] = lambda packet: None
        self.feed: Callable[[], None] | None = None
        self._inbox: deque[bytes] = deque()
        self._read_at = -1.0
        self._reads = False
        self._timer_at: float | None = None

    def arrive(self, packet: bytes) -> None:
        self._inbox.append(packet)
        if not self._reads:
            self._reads = True
            path, now = self.network.path, self.network.now
            self.network.at(max(now, self._read_at + path.reads_every_s), self._read)

    def _read(self) -> None:
        self._reads = False
        now = self._read_at = self.network.now
        association, inbox = self.association, self._inbox
        while inbox:
            give_all(association, [inbox.popleft() for _ in range(min(_BATCH, len(inbox)))], now)
            if inbox:
                association.end_of_batch(now, drained=False)
                if association.is_sack_due:
                    self.drain()
        association.end_of_batch(now)
        self.drain()

    def drain(self) -> None:
        association, now = self.association, self.network.now
        if self.feed is not None:
            self.feed()
        view, carry = association._outbox.view, self.carry
        while (train := association.write(now)) is not None:
            size = train.packet_size
            for at in range(0, train.size, size):
                carry(view[at : min(at + size, train.size)])
        association.take_events()
        due = association.next_timer()
        if due is None:
            self._timer_at = None
            return
        due = max(due, now + TICK_S)
        if self._timer_at is None or due < self._timer_at or self._timer_at <= now:
            self._timer_at = due
            late = self.network.path.late_s * self.network.random.random()
            self.network.at(due + late, self._fire, due)

    def _fire(self, due: float) -> None:
        if due != self._timer_at:
            return
        self._timer_at = None
        self.association.handle_timer(self.network.now)
        self.drain()


class Flow:
    """A sender that always has more, its receiver, and what became of it."""

    def __init__(self, network: Network, config: AssociationConfig, begins_s: float) -> None:
        self.network = network
        self.received = 0
        self.slices: list[int] = []
        "Bytes that arrived in each tenth of a second since the network began."
        random = network.random.randbytes
        self.sender = Host(network, Association(config, is_client=True, random=random, now=network.now))
        self.receiver = Host(network, Association(config, is_client=False, random=random, now=network.now))
        self.sender.carry = lambda packet: network.forward(self.receiver, packet)
        self.receiver.carry = lambda packet: network.back(self.sender, packet)
        self.receiver.association.on_message = self._count
        self.begins_at = network.now + begins_s
        network.at(self.begins_at, self._begin)

    def _begin(self) -> None:
        self.sender.association.connect(self.network.now)
        self.sender.feed = self._feed
        self.sender.drain()

    def _feed(self) -> None:
        association = self.sender.association
        while association.buffered(1) < _HIGH_WATER:
            association.send(1, 53, _MESSAGE, now=self.network.now)

    def _count(self, stream_id: int, ppid: int, payload: bytes) -> None:
        self.received += len(payload)
        index = int((self.network.now - self.network.began_at) / SLICE_S)
        while len(self.slices) <= index:
            self.slices.append(0)
        self.slices[index] += len(payload)

    def rate(self, from_s: float, until_s: float) -> float:
        """Bytes a second that arrived between two moments since the network began."""
        return sum(self.slices[round(from_s / SLICE_S) : round(until_s / SLICE_S)]) / (until_s - from_s)

    def resent_share(self) -> float:
        """Packets that were sent more than once, of all."""
        stats = self.sender.association.stats()
        return stats.packets_retransmitted / stats.packets_sent


class Network:
    """A path, and what flows over it."""

    def __init__(self, path: Path, *, seed: int = 1, config: AssociationConfig = CONFIG) -> None:
        self.path = path
        self.random = Random(seed)
        self.now = self.began_at = 100.0
        self.flows: list[Flow] = []
        self.lost = self.dropped = self.carried = 0
        "Packets lost by chance, dropped by the full queue, and carried."
        self.waited_s = 0.0
        self._config = config
        self._busy_until = 0.0
        self._is_losing = False
        self._events: list[Event] = []
        self._count = 0

    def flow(self, begins_s: float = 0.0, **options: Any) -> Flow:
        """Add a flow, configured differently where ``options`` say so."""
        self.flows.append(Flow(self, replace(self._config, **options), begins_s))
        return self.flows[-1]

    def at(self, when: float, what: Callable[..., None], *arguments: Any) -> None:
        """Do something then."""
        self._count += 1
        heapq.heappush(self._events, (when, self._count, what, arguments))

    def run(self, seconds: float) -> Network:
        """Play so much of it."""
        deadline = self.now + seconds
        events, pop = self._events, heapq.heappop
        while events and events[0][0] <= deadline:
            self.now, _, what, arguments = pop(events)
            what(*arguments)
        self.now = deadline
        return self

    @property
    def mean_wait_s(self) -> float:
        """How long packets waited in the queue, on average."""
        return self.waited_s / max(self.carried, 1)

    def _is_lost(self) -> bool:
        path = self.path
        if path.stops[0] <= self.now - self.began_at < path.stops[1]:
            return True
        if not path.loss:
            return False
        if path.burst <= 1:
            return self.random.random() < path.loss
        # Two states (Gilbert): bursts of this mean length, so seldom that the share is as asked.
        if self._is_losing:
            self._is_losing = self.random.random() >= 1 / path.burst
        else:
            self._is_losing = self.random.random() < path.loss / (1 - path.loss) / path.burst
        return self._is_losing

    def _delay(self) -> float:
        path = self.path
        if not path.jitter_s:
            return path.delay_s
        return path.delay_s + (2 * self.random.random() - 1) * path.jitter_s

    def forward(self, host: Host, packet: bytes) -> None:
        """A packet of a sender's: through the queue."""
        if self._is_lost():
            self.lost += 1
            return
        path, now = self.path, self.now
        wait = max(self._busy_until - now, 0.0)
        size = len(packet) + OVERHEAD
        if wait * path.rate + size > path.queue:
            self.dropped += 1
            return
        self.carried += 1
        self.waited_s += wait
        self._busy_until = now + wait + size / path.rate
        self.at(self._busy_until + self._delay(), host.arrive, packet)
        if path.duplication and self.random.random() < path.duplication:
            self.at(self._busy_until + self._delay(), host.arrive, packet)

    def back(self, host: Host, packet: bytes) -> None:
        """A packet of a receiver's."""
        if not self._is_lost():
            self.at(self.now + self._delay(), host.arrive, packet)
