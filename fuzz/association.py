"""An SCTP association whose peer says anything: what a real one said, damaged, and what none would say.

The input is a list of steps. Checksum and tag are made right, or nothing behind them would ever be reached;
numbers are near those that the association expects. After every step its invariants are checked.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator

from fuzz.target import Choices, Target, framed
from p2pshare.rtc.sctp import Association, AssociationConfig, Closed, MessageReceived
from p2pshare.rtc.sctp.config import CONGESTION_CONTROLS
from p2pshare.rtc.sctp.packet import Kind, encode_chunk, encode_parameter
from p2pshare.rtc.sctp.rx.receiver import Receiver
from p2pshare.rtc.sctp.state import State
from p2pshare.rtc.sctp.tx.sender import Sender
from tests.rtc.sctp.link import Pair, give_all, packets_of
from tests.rtc.sctp.wire import chunks_of, data, i_data, packet, tag_of

MEMORY = 300_000
TRAINS_AT_MOST = 500
"In one turn: all that the steps of one input can have queued."
QUEUED_AT_MOST = 500_000
WORK_S = 10.0
"Seconds of processor time for one step: far more than any takes, less than one that does not end."
_CONTROL_AT_MOST = 64 + 64 + 1
_PAUSES_S = (0.0, 0.001, 0.02, 0.2, 0.5, 1.1, 5.0, 31.0)
_SIZES = (1, 4, 500, 1_104, 1_105, 5_000, 65_536)
_KINDS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 64, 130, 132, 192, 194, 63, 127, 191, 255)


class Attack:
    """One association, its peer, and the steps that an input says."""

    def __init__(self, choices: Choices) -> None:
        flags = choices.byte()
        config = AssociationConfig(
            interleaving=not flags & 1,
            receive_memory=MEMORY,
            receive_window=4_000 if flags & 8 else 1 << 20,
            pacing=not flags & 16,
            congestion=CONGESTION_CONTROLS[(flags >> 5) % len(CONGESTION_CONTROLS)],
        )
        self._choices = choices
        self._pair = Pair(config, config, seed=1, keep_packets=True)
        left, right = self._pair.left, self._pair.right
        victim, peer = (left, right) if flags & 2 else (right, left)
        self.victim = victim.association
        self.peer = peer
        if flags & 4:
            self._pair.left.association.connect(self.now)
            self._pair.right.association.connect(self.now)
        else:
            self._pair.connect()
        self._body = b""
        self._batch: list[bytes] = []
        self._gathers = False
        self._is_drained = True
        self._at = len(peer.sent)
        self._receiver: Receiver | None = None
        self._cumulative = 0
        self._steps: list[Callable[[], None]] = [
            self._real,
            self._damaged,
            self._data,
            self._sack,
            self._skip,
            self._reconfig,
            self._any_chunk,
            self._raw,
            self._flush,
            self._wait,
            self._send,
            self._reset,
            self._command,
            self._gather,
        ]

    @property
    def now(self) -> float:
        """The association's clock."""
        return self._pair.now

    def run(self) -> None:
        """Take all steps."""
        while not self._choices.is_over:
            begun = time.process_time()
            self._choices.one_of(self._steps)()
            self._settle()
            assert time.process_time() - begun < WORK_S
        self._gathers = False
        self._flush()
        self._settle()
        check_held(self.victim)

    # What the victim is given

    def _give(self, raw: bytes) -> None:
        self._batch.append(raw)
        if not self._gathers:
            give_all(self.victim, self._batch, self.now)
            self._batch.clear()
            self.victim.end_of_batch(self.now, drained=self._is_drained)

    def _gather(self) -> None:
        """Packets come together from now on, or one by one again; the socket has more, or it has not."""
        flags = self._choices.byte()
        self._gathers = bool(flags & 1)
        self._is_drained = not flags & 2

    def _flush(self) -> None:
        """The chunks so far, as one packet."""
        kind = self._choices.byte()
        tag = {0: 0, 1: tag_of(self.peer.association)}.get(kind, tag_of(self.victim))
        body, self._body = self._body, b""
        self._give(packet(body[:60_000], tag))

    def _say(self, chunk: bytes) -> None:
        """A chunk alone, or with those that follow."""
        self._body += chunk
        if self._choices.byte() & 1:
            self._give(packet(self._body[:60_000], tag_of(self.victim)))
            self._body = b""

    def next_real(self) -> bytes:
        """The next packet of the real peer, which hears all that the victim says."""
        self._collect()
        if self._at == len(self.peer.sent):
            return b""
        self._at += 1
        return self.peer.sent[self._at - 1]

    def _collect(self) -> None:
        """Have the real peer say what it has to say."""
        association = self.peer.association
        while (train := association.write(self.now)) is not None:
            self.peer.sent += packets_of(association, train)
        association.take_events()

    def _real(self) -> None:
        raw = self.next_real()
        if raw:
            self._give(raw)

    def _damaged(self) -> None:
        raw = bytearray(self.next_real() or self._choices.one_of(self.peer.sent or [bytes(16)]))
        for _ in range(1 + self._choices.byte() % 4):
            at = 12 + self._choices.short() % max(1, len(raw) - 12)
            if at < len(raw):
                raw[at] ^= self._choices.byte()
        tag = int.from_bytes(raw[4:8], "big")
        self._give(packet(bytes(raw[12:]), tag))

    def _raw(self) -> None:
        self._body += self._choices.piece()
        self._flush()

    def _any_chunk(self) -> None:
        choices = self._choices
        kind, flags, body = choices.one_of(_KINDS), choices.byte(), choices.take(choices.byte())
        self._say(encode_chunk(kind, body, flags))

    def _data(self) -> None:
        choices = self._choices
        receiver = self.victim._receiver
        if receiver is None:
            return
        tsn = receiver.cumulative + 1 + choices.near()
        flags, stream, number, size = choices.byte(), choices.byte(), choices.byte(), choices.one_of(_SIZES)
        payload = bytes(min(size, 5_000))
        if receiver.interleaved:
            self._say(i_data(tsn, stream, choices.byte(), number, payload, flags & 15))
        else:
            self._say(data(tsn, stream, number, payload, flags & 15))

    def _sack(self) -> None:
        choices = self._choices
        sender = self.victim._sender
        if sender is None:
            return
        cumulative = sender.outstanding.cumulative + choices.near()
        window = choices.one_of((0, 1, 1_200, 100_000, 1 << 20, 0xFFFF_FFFF))
        gaps = [choices.short() if choices.byte() & 1 else choices.byte() for _ in range(choices.byte() % 12)]
        body = struct.pack("!IIHH", cumulative & 0xFFFF_FFFF, window, len(gaps) // 2, choices.byte() % 3)
        body += b"".join(struct.pack("!H", gap) for gap in gaps) + choices.take(8)
        self._say(encode_chunk(Kind.SACK, body))

    def _skip(self) -> None:
        choices = self._choices
        receiver = self.victim._receiver
        if receiver is None:
            return
        far = choices.short() << 8 if choices.byte() & 1 else choices.near()
        body = struct.pack("!I", (receiver.cumulative + far) & 0xFFFF_FFFF)
        for _ in range(choices.byte() % 4):
            stream, number = choices.byte(), choices.byte()
            if receiver.interleaved:
                body += struct.pack("!HHI", stream, choices.byte() & 1, number)
            else:
                body += struct.pack("!HH", stream, number)
        self._say(encode_chunk(Kind.I_FORWARD_TSN if receiver.interleaved else Kind.FORWARD_TSN, body))

    def _reconfig(self) -> None:
        choices = self._choices
        resets, receiver = self.victim._resets, self.victim._receiver
        if resets is None or receiver is None:
            return
        body = b""
        for _ in range(1 + choices.byte() % 2):
            kind = 13 + choices.byte() % 6
            ours = kind == 16
            number = (resets.outgoing if ours else resets.incoming).next_number + choices.near()
            value = struct.pack("!I", number & 0xFFFF_FFFF)
            if ours:
                value += struct.pack("!I", choices.byte() % 8)
            else:
                last = receiver.cumulative + choices.near()
                value += struct.pack("!II", choices.short(), last & 0xFFFF_FFFF) + choices.take(6)
            body += encode_parameter(kind, value)
        self._say(encode_chunk(Kind.RECONFIG, body))

    # What the victim does

    def _wait(self) -> None:
        self._pair.now += self._choices.one_of(_PAUSES_S)
        peer = self.peer.association
        for association, follow in ((self.victim, self._settle), (peer, self._collect)):
            for _ in range(50):
                due = association.next_timer()
                if due is None or due > self.now:
                    break
                association.handle_timer(self.now)
                follow()
            else:
                raise AssertionError("a timer is due for ever")

    def _send(self) -> None:
        choices = self._choices
        who = choices.byte()
        association = self.peer.association if who & 1 else self.victim
        stream, size = choices.byte() % 8, choices.one_of(_SIZES)
        retransmits = choices.one_of((None, None, 0, 2))
        if association.stats().queued > QUEUED_AT_MOST:
            return
        try:
            association.send(
                stream, 53, bytes(size), ordered=not who & 2, max_retransmits=retransmits, now=self.now
            )
        except RuntimeError:
            assert association.state not in (State.CLOSED, State.COOKIE_WAIT, State.ESTABLISHED)

    def _reset(self) -> None:
        choices = self._choices
        association = self.peer.association if choices.byte() & 1 else self.victim
        association.reset_streams([choices.byte() % 8 for _ in range(1 + choices.byte() % 3)], self.now)

    def _command(self) -> None:
        choices = self._choices
        size = choices.one_of((512, 600, 1_132, 1_400, 9_000))
        victim = self.victim
        commands: list[Callable[[], None]] = [
            lambda: victim.shutdown(self.now),
            victim.abort,
            victim.trust_peer,
            lambda: victim.set_packet_size(size),
            lambda: victim.discover_packet_size((1_200, 1_400, size)),
            lambda: victim.probe(size),
            lambda: victim.probe_failed(self.now),
            lambda: victim.set_receive_window(size * 10),
            lambda: self.peer.association.shutdown(self.now),
        ]
        choices.one_of(commands)()

    # What has to hold

    def _settle(self) -> None:
        """All that a transport does after every call."""
        victim, peer = self.victim, self.peer.association
        was_gone = victim.state is State.GONE and not victim._control._chunks and not victim._control._alone
        for _ in range(TRAINS_AT_MOST):
            train = victim.write(self.now)
            if train is None:
                break
            assert not was_gone, "it goes on talking after its end"
            self._check_written(packets_of(victim, train))
        else:
            raise AssertionError("it never stops sending")
        events = victim.take_events()
        closed = [event for event in events if isinstance(event, Closed)]
        assert len(closed) <= 1
        if closed:
            assert victim.state is State.GONE
            behind = events[events.index(closed[0]) :]
            assert not any(isinstance(event, MessageReceived) for event in behind)
        peer.end_of_batch(self.now)
        control = victim._control
        assert len(control._chunks) + len(control._alone) <= _CONTROL_AT_MOST
        if victim._receiver is not None:
            self._check_receiver(victim._receiver)
        if victim._sender is not None:
            check_sender(victim._sender)

    def _check_written(self, packets: list[bytes]) -> None:
        receiver = self.victim._receiver
        give_all(self.peer.association, packets, self.now)
        for raw in packets:
            for kind, _, body in chunks_of(raw):
                if kind == Kind.SACK and receiver is not None:
                    (window,) = struct.unpack_from("!I", body, 4)
                    assert window == max(0, min(receiver.receive_window, MEMORY - receiver.held))

    def _check_receiver(self, receiver: Receiver) -> None:
        config = self.victim.config
        assert 0 <= receiver.held <= MEMORY + config.max_message_size + (1 << 16)
        assert receiver.tracker.ahead.count <= config.max_out_of_order
        assert receiver.streams.waiting >= 0
        cumulative = receiver.cumulative
        assert cumulative >= self._cumulative or receiver is not self._receiver  # a restart makes a new one
        self._cumulative, self._receiver = cumulative, receiver


def check_sender(sender: Sender) -> None:
    """What is in flight is what was sent, less what is acknowledged, lost or given up."""
    outstanding = sender.outstanding
    first, last = outstanding.cumulative + 1, outstanding.next_tsn - 1
    accounted = [outstanding.sacked, outstanding.lost, outstanding.abandoned]
    for ranges in accounted:
        for start, end in ranges:
            assert first <= start <= end <= last
    size = outstanding.bytes_between(first, last) if first <= last else 0
    for ranges in accounted:
        size -= sum(outstanding.bytes_between(start, end) for start, end in ranges)
    assert outstanding.flight == size


def check_held(association: Association) -> None:
    """What the receiver says it holds is what it holds, or its windows were lies."""
    receiver = association._receiver
    if receiver is None:
        return
    said = receiver.held
    receiver.settle()
    assert receiver.held == said
    streams = receiver.streams._streams.values()
    waiting = [payload for stream in streams for _, payload in stream.waiting.values()]
    assert receiver.streams.waiting == len(waiting)
    parts = [part for segment in receiver.reassembly._by_first.values() for part in segment.parts]
    for assembly in receiver.interleaved_reassembly._assemblies.values():
        parts += [*assembly.parts, *assembly.later.values()]
    assert said == sum(map(len, waiting)) + sum(map(len, parts))
    assert receiver._pieces == len(parts)
    receiver.resume()
    assert receiver.held == said


def run(source: bytes) -> None:
    """Take the steps that the input says."""
    Attack(Choices(source)).run()


_REAL, _RAW, _WAIT, _SEND, _RESET, _COMMAND, _GATHER = 0, 7, 9, 10, 11, 12, 13


def seeds() -> Iterator[bytes]:
    """A transfer both ways with resets and a shutdown, and the peer's own packets as bytes to change."""
    some = [byte for stream in range(4) for byte in (_SEND, stream & 1, stream, 3 + stream % 3, stream)]
    steps = [*some, *[_REAL] * 6, _RESET, 0, 1, 2, 3, _WAIT, 2, *[_REAL] * 4, *some, _WAIT, 3, *[_REAL] * 6]
    for flags in (0, 1, 2, 3, 4, 7, 8, 9, 17, 18, 32, 65):
        yield bytes([flags, *steps])
        yield bytes([flags, *steps, _COMMAND, 2, 0, _REAL, _WAIT, 3, _REAL])
        yield bytes([flags, *some, _GATHER, 1, *[_REAL] * 9, _GATHER, 2, *[_REAL] * 3, _WAIT, 3, _REAL])
        yield bytes([flags, *recorded(flags)])


def recorded(flags: int) -> Iterator[int]:
    """What the peer says first, as steps that say it by themselves."""
    attack = Attack(Choices(bytes((flags,))))
    peer = attack.peer.association
    for stream in range(3):
        peer.send(stream, 53, bytes(2_500), now=attack.now)
    peer.reset_streams([1], attack.now)
    while raw := attack.next_real():
        yield from (_RAW, *framed(raw[12:]), 2)


TARGET = Target(run, seeds, 4_000)
