"""Two associations in memory, a clock of their own, and a link that loses, repeats, reorders and damages.

`Pair` runs until nothing moves any more, or until a given time. Packets that leave at one moment and arrive
at one moment are one batch, as the socket would give it. Each end's invariants are checked after everything
that happens.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from p2pshare.rtc.sctp import (
    Association,
    AssociationConfig,
    AssociationEvent,
    Established,
    MessageReceived,
    Train,
)
from p2pshare.rtc.sctp.memory import copy


@dataclass(slots=True)
class Conditions:
    """What one direction of the link does to packets."""

    delay_s: float = 0.01
    jitter_s: float = 0.0
    loss: float = 0.0
    duplication: float = 0.0
    corruption: float = 0.0
    rate: float | None = None
    "Bytes a second, with a queue of `queue` bytes."
    queue: int = 1 << 30
    mtu: int = 1 << 16
    drop: Callable[[bytes], bool] | None = None
    "Says which packets are lost, in place of chance."


@dataclass(slots=True)
class End:
    """One association and what came out of it."""

    association: Association
    conditions: Conditions
    free_at: float = 0.0
    events: list[AssociationEvent] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    trains: list[Train] = field(default_factory=list)
    most_held: int = 0

    @property
    def messages(self) -> list[tuple[int, int, bytes]]:
        return [(e.stream_id, e.ppid, e.payload) for e in self.events if isinstance(e, MessageReceived)]

    def count(self, kind: type[AssociationEvent]) -> int:
        return sum(isinstance(event, kind) for event in self.events)


class Pair:
    """Two ends, left and right, on a link."""

    def __init__(
        self,
        left: AssociationConfig | None = None,
        right: AssociationConfig | None = None,
        *,
        conditions: Conditions | None = None,
        back: Conditions | None = None,
        seed: int = 0,
        keep_packets: bool = False,
    ) -> None:
        self.random = Random(seed)
        self.now = 100.0
        conditions = conditions or Conditions()
        self.left = self._end(left, conditions, True)
        self.right = self._end(right, back or conditions, False)
        self.keep_packets = keep_packets
        self._flying: list[tuple[float, int, bool, bytes]] = []
        self._count = 0

    def _end(self, config: AssociationConfig | None, conditions: Conditions, is_client: bool) -> End:
        return End(self.association(config, is_client), conditions)

    def association(self, config: AssociationConfig | None, is_client: bool) -> Association:
        return Association(
            config or AssociationConfig(), is_client=is_client, random=self.random.randbytes, now=self.now
        )

    # Driving

    def connect(self) -> Pair:
        """Connect as WebRTC does: both ends send INIT."""
        self.left.association.connect(self.now)
        self.right.association.connect(self.now)
        self.run(until=lambda: self.left.count(Established) > 0 < self.right.count(Established))
        assert self.left.count(Established) == self.right.count(Established) == 1
        return self

    def send(self, end: End, stream_id: int, payload: bytes, **options: Any) -> None:
        end.association.send(stream_id, 53, payload, now=self.now, **options)

    def run(self, seconds: float = 60.0, until: Callable[[], bool] | None = None) -> None:
        """Go on for so long, or until something holds."""
        deadline = self.now + seconds
        while True:
            self._drain()
            if until is not None and until():
                return
            at = self._next_at()
            if at is None or at > deadline:
                self.now = deadline
                if until is not None:
                    raise AssertionError(f"not within {seconds} s: {self.left.association.stats()}")
                return
            self.now = max(self.now, at)
            self._deliver()
            for end in (self.left, self.right):
                due = end.association.next_timer()
                if due is not None and due <= self.now:
                    end.association.handle_timer(self.now)

    def settle(self, seconds: float = 60.0) -> None:
        """Go on until all that was sent has arrived and been acknowledged."""
        self.run(seconds, until=lambda: self.is_settled(self.left) and self.is_settled(self.right))

    def is_settled(self, end: End) -> bool:
        sender = end.association._sender
        return (
            sender is not None
            and not end.association.stats().queued
            and sender.outstanding.is_empty
            and not self._flying
        )

    def _next_at(self) -> float | None:
        times = [self._flying[0][0]] if self._flying else []
        for end in (self.left, self.right):
            due = end.association.next_timer()
            if due is not None:
                times.append(due)
        return min(times, default=None)

    # The link

    def _drain(self) -> None:
        for end in (self.left, self.right):
            association = end.association
            while (train := self._write(association)) is not None:
                end.trains.append(train)
                assert train.size <= association.outbox_size
                assert 0 < train.size - (train.count - 1) * train.packet_size <= train.packet_size
                for packet in packets_of(association, train):
                    if self.keep_packets:
                        end.sent.append(packet)
                    self._carry(end, packet)
            end.events += association.take_events()
            self._check(end)

    def _write(self, association: Association) -> Train | None:
        """Write, and see that new data goes beyond the peer's window by no more than a packet."""
        sender = association._sender
        before = None if sender is None else sender.outstanding.next_tsn
        train = association.write(self.now)
        if sender is association._sender and sender is not None and sender.outstanding.next_tsn != before:
            packet = association.stats().packet_size
            assert sender.outstanding.flight <= sender.peer_window + packet
            assert sender.outstanding.flight <= max(sender.peer_window, packet)
        return train

    def _check(self, end: End) -> None:
        sender, receiver = end.association._sender, end.association._receiver
        if sender is None or receiver is None:
            return
        assert sender.outstanding.flight >= 0
        end.most_held = max(end.most_held, receiver.held)

    def _carry(self, end: End, packet: bytes) -> None:
        conditions, random = end.conditions, self.random
        if len(packet) > conditions.mtu or random.random() < conditions.loss:
            return
        if conditions.drop is not None and conditions.drop(packet):
            return
        at = self.now
        if conditions.rate is not None:
            if (end.free_at - self.now) * conditions.rate > conditions.queue:
                return
            at = end.free_at = max(end.free_at, self.now) + len(packet) / conditions.rate
        copies = 2 if random.random() < conditions.duplication else 1
        for _ in range(copies):
            if random.random() < conditions.corruption:
                spoilt = bytearray(packet)
                spoilt[random.randrange(len(spoilt))] ^= 1 << random.randrange(8)
                packet = bytes(spoilt)
            arrival = at + conditions.delay_s + random.random() * conditions.jitter_s
            self._count += 1
            heapq.heappush(self._flying, (arrival, self._count, end is self.left, packet))

    def _deliver(self) -> None:
        batches: dict[bool, list[bytes]] = {}
        while self._flying and self._flying[0][0] <= self.now:
            _, _, to_right, packet = heapq.heappop(self._flying)
            batches.setdefault(to_right, []).append(packet)
        for to_right, packets in batches.items():
            association = (self.right if to_right else self.left).association
            give_all(association, packets, self.now)
            association.end_of_batch(self.now)


def packets_of(association: Association, train: Train) -> list[bytes]:
    """The packets of a train that `write()` has just built."""
    size = train.packet_size
    whole = bytes(association._outbox.view[0 : train.size])
    return [whole[at : at + size] for at in range(0, train.size, size)]


def give(association: Association, packet: bytes, now: float) -> None:
    """Have a packet received."""
    give_all(association, [packet], now)


def give_all(association: Association, packets: Iterable[bytes], now: float) -> None:
    """Have packets received as the transport does: decrypted into the inbox one by one, in one call."""
    left = iter(packets)

    def read() -> int:
        packet = next(left, b"")
        copy(association.inbox, packet, len(packet))
        return len(packet)

    association.receive_packets(read, now)
