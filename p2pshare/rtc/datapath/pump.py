"""Drives an association: the one rule, the one timer, the turns of the event loop.

**After every touch of the association it is drained: what it sends, then its events, then its timer.**
On the way of a packet there is no coroutine, no task, no future and no log line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from p2pshare.rtc.datapath.wire import Wire
from p2pshare.rtc.sctp.association import Association
from p2pshare.rtc.sctp.events import AssociationEvent

TRAINS_PER_TURN: Final = 4
"Trains that are sent before the event loop gets its turn."

BATCH: Final = 8
"Packets received together after which we send at once; after fewer, at the end of the wake-up."

FEW: Final = 6
"Fewer than so many ask for no SACK yet, not even towards a foreign sender."

_TICK_S: Final = 0.001  # an event loop's timer is no finer


class Pump:
    """Between an association, the wire, and an event loop."""

    def __init__(
        self,
        association: Association,
        wire: Wire,
        loop: asyncio.AbstractEventLoop,
        *,
        prepare: Callable[[], None],
        handle: Callable[[AssociationEvent], None],
    ) -> None:
        """``prepare`` is called before something is sent, ``handle`` for each event: both may call `soon`."""
        self._association = association
        self._wire = wire
        self._loop = loop
        self._prepare = prepare
        self._handle = handle
        self._timer: asyncio.TimerHandle | None = None
        self._turn: asyncio.Handle | None = None
        self._unsent = 0
        self._is_undrained = False
        self._is_running = False
        self._is_closed = False
        wire.open(association, batch_received=self._batch_received, drained=self._drained, writable=self.now)

    def soon(self) -> None:
        """Drain in the next turn of the event loop."""
        if self._turn is None and not self._is_closed:
            self._turn = self._loop.call_soon(self._turn_came)

    def _turn_came(self) -> None:
        self._turn = None
        self.now()

    def now(self) -> None:
        """Drain."""
        self._drain(self._loop.time())

    def close(self) -> None:
        """Touch the association no more."""
        self._is_closed = True
        self._wire.close()
        for handle in (self._timer, self._turn):
            if handle is not None:
                handle.cancel()
        self._timer = self._turn = None

    def _drain(self, now: float) -> None:
        if self._is_running or self._is_closed:
            return
        self._is_running = True
        try:
            self._prepare()
            self._send(now)
            for event in self._association.take_events():
                self._handle(event)
        finally:
            self._is_running = False
        if not self._is_closed:
            timer, tick = self._timer, now + _TICK_S
            if timer is not None and timer.when() <= tick:
                return  # it looks again, no later than it would be set to here
            due = self._association.next_timer()
            # What is due and was not done waits for something else, such as a full socket: no spinning.
            self._arm(None if due is None else max(due, tick))

    def _send(self, now: float) -> None:
        association, wire = self._association, self._wire
        if not wire.may_send:
            return
        for _ in range(TRAINS_PER_TURN):
            train = association.write(now)
            if train is None or not wire.send(train, now) or not association.may_have_more:
                return
        self.soon()

    # --- time ----------------------------------------------------------------------------------------------

    def _arm(self, due: float | None) -> None:
        """One timer, moved only forward in time: one that fires early looks again."""
        timer = self._timer
        if timer is not None:
            if due is not None and timer.when() <= due:
                return
            timer.cancel()
        self._timer = None if due is None else self._loop.call_at(due, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        now = self._loop.time()
        due = self._association.next_timer()
        if due is not None and due <= now:
            self._association.handle_timer(now)
        self._drain(now)

    # --- from the wire -------------------------------------------------------------------------------------

    def _batch_received(self, now: float, count: int) -> None:
        """One receive's worth of packets was taken."""
        association = self._association
        self._is_undrained = True
        self._unsent += count
        if self._unsent < FEW and not association.is_sack_due:
            return
        association.end_of_batch(now, drained=False)
        is_sack_due = association.is_sack_due
        if is_sack_due or (self._unsent >= BATCH and association.has_unsent):  # it keeps either end going
            self._unsent = 0
            self._is_undrained = not is_sack_due
            self._drain(now)

    def _drained(self) -> None:
        """Nothing waits in the socket, for the moment."""
        if self._is_undrained and not self._is_closed:
            self._is_undrained = False
            self._unsent = 0
            now = self._loop.time()
            self._association.end_of_batch(now)
            self._drain(now)

    def packet_received(self, packet: bytes) -> None:
        """A packet from aiortc's own pump, one a turn of the loop."""
        now = self._loop.time()
        if self._is_closed or not self._wire.receive(packet, now):
            return
        if not self._is_undrained:
            self._loop.call_soon(self._drained)
        self._batch_received(now, 1)
