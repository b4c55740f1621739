"""An honest peer of any habits: messages cut anywhere, packed in any way, on a network that mixes it all up.

The input says how. Whatever it says, each message comes out as it was, once, in its stream's order, and the
receiver holds what it says it holds. So the short ways through the inlet give what the long way gives.
"""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.association import check_held
from fuzz.target import Choices, Target
from p2pshare.rtc.sctp import AssociationConfig, MessageReceived
from tests.rtc.sctp.link import Pair, give_all
from tests.rtc.sctp.wire import chunk, data, i_data, packet, tag_of

_FRAGMENTS = (1, 2, 3, 4, 5, 11, 12, 100, 101, 1_104)
_BEHIND = (
    b"",
    b"",
    b"",
    chunk(132, 0, b""),
    chunk(132, 0, bytes(8)),
    chunk(132, 0, bytes(9)),
    chunk(4, 0, b"\0\1\0\x08beat"),
    chunk(63, 0, b"unknown")[:8],
)
_MEMORY = 1 << 20
_MESSAGES_AT_MOST = 40


class Sender:
    """What the peer sends: chunks in the order of their TSNs."""

    def __init__(self, choices: Choices, first_tsn: int, *, interleaved: bool) -> None:
        self._choices = choices
        self._interleaved = interleaved
        self._tsn = first_tsn
        self._numbers: dict[tuple[int, int], int] = {}
        self.ordered: dict[int, list[bytes]] = {}
        self.unordered: list[bytes] = []
        self.chunks: list[bytes] = []

    def send(self) -> None:
        """One message; two at once, mixed, where that is allowed."""
        choices = self._choices
        mixed = choices.byte() & 1 if self._interleaved else 0
        messages = [self._message(index) for index in range(1 + mixed)]
        while messages:
            message = messages[choices.byte() % len(messages)]
            piece = next(message, None)
            if piece is None:
                messages.remove(message)
                continue
            self.chunks.append(self._numbered(*piece))
            self._tsn += 1

    def _message(self, index: int) -> Iterator[tuple[int, int, int, int, bytes]]:
        choices = self._choices
        kind, count, size = choices.byte(), 1 + choices.byte() % 12, choices.one_of(_FRAGMENTS)
        stream, unordered = kind & 2 | index, kind & 4
        number = self._numbers.get((stream, unordered), 0)
        if not unordered or self._interleaved:
            self._numbers[stream, unordered] = number + 1
        parts = []
        for part in range(count):
            if choices.byte() & 1:
                size = choices.one_of(_FRAGMENTS)
            parts.append(bytes((len(self.chunks) + part & 0xFF,)) * size)
        whole = b"".join(parts)
        if unordered:
            self.unordered.append(whole)
        else:
            self.ordered.setdefault(stream, []).append(whole)
        for part, payload in enumerate(parts):
            flags = unordered | (2 if part == 0 else 0) | (1 if part + 1 == count else 0)
            yield flags, stream, number, part, payload

    def _numbered(self, flags: int, stream: int, number: int, part: int, payload: bytes) -> bytes:
        if self._interleaved:
            return i_data(self._tsn, stream, number, part or 53, payload, flags)
        return data(self._tsn, stream, number & 0xFFFF, payload, flags)


def _packets(choices: Choices, chunks: list[bytes], tag: int) -> list[bytes]:
    """Chunks in packets, with company; some of them out of order, some twice."""
    packets: list[bytes] = []
    left = chunks[::-1]
    while left:
        body = left.pop()
        habit = choices.byte()
        while habit & 3 == 3 and left and len(body) < 1_000:
            body += left.pop()
            habit >>= 1
        packets.append(packet(body + _BEHIND[(habit >> 2) % len(_BEHIND)], tag))
        if habit & 0x80 and len(packets) > 1:
            other = choices.byte() % len(packets)
            packets[-1], packets[other] = packets[other], packets[-1]
            if habit & 0x40:
                packets.append(packets[other])
    return packets


def run(source: bytes) -> None:
    """Send as the input says, and compare."""
    choices = Choices(source)
    flags = choices.byte()
    config = AssociationConfig(interleaving=bool(flags & 1), receive_memory=_MEMORY)
    pair = Pair(config, config, seed=1).connect()
    victim = pair.right.association
    first = pair.left.association._lifecycle.handshake.initial_tsn
    sender = Sender(choices, first, interleaved=bool(flags & 1))
    received = []
    for _ in range(_MESSAGES_AT_MOST):
        if choices.is_over:
            break
        sender.send()
        if choices.byte() & 1 or choices.is_over:
            packets = _packets(choices, sender.chunks, tag_of(victim))
            batch = 1 + (flags >> 3)
            for at in range(0, len(packets), batch):
                give_all(victim, packets[at : at + batch], pair.now)
                victim.end_of_batch(pair.now)
                check_held(victim)
            sender.chunks.clear()
            while victim.write(pair.now) is not None:
                pass
            received += [event for event in victim.take_events() if isinstance(event, MessageReceived)]
    if sender.chunks:
        return  # the input ended before they left
    assert victim._receiver is not None
    assert victim._receiver.held == 0
    unordered = sorted(sender.unordered)
    for stream, messages in sender.ordered.items():
        payloads = [event.payload for event in received if event.stream_id == stream]
        for payload in messages:
            assert payload in payloads
        unordered += messages
    assert sorted(event.payload for event in received) == sorted(unordered)


def seeds() -> Iterator[bytes]:
    """Messages of one habit each: even and odd fragments, alone and in company, of both kinds of data."""
    for flags in (0, 1, 0xF8, 0xF9):
        for size in range(len(_FRAGMENTS)):
            for behind in range(len(_BEHIND)):
                message = [0, 0, 8, size, *[0] * 9]
                yield bytes([flags, *([0] if flags & 1 else []), *message, 1, *[behind << 2] * 9] * 2)


TARGET = Target(run, seeds, 2_000)
