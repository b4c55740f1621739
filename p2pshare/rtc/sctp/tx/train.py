"""Cut messages into packets: trains of equally sized packets, as many as may be sent now.

This is the sender's hot path. Per full packet it packs a chunk header (70 ns), copies the payload (140), sums
it up (140) and stores the checksum (26); everything else is done once a train or once a message. A message is
cut evenly, so that its packets are equal; the last one is filled with a PAD chunk (RFC 4820) when more
follows, so that a train goes on into the next message. Small messages share packets.
"""

from __future__ import annotations

import struct
from itertools import islice

from p2pshare.rtc.sctp.memory import address_of, copy, extend_crc
from p2pshare.rtc.sctp.packet import DATA_HEADER, DATA_OVERHEAD, I_DATA_HEADER, I_DATA_OVERHEAD, Kind
from p2pshare.rtc.sctp.stats import Counters
from p2pshare.rtc.sctp.tx.message import Message
from p2pshare.rtc.sctp.tx.outbox import Outbox, Train
from p2pshare.rtc.sctp.tx.outstanding import Outstanding
from p2pshare.rtc.sctp.tx.send_queue import SendQueue

_FRAGMENT = struct.Struct("!II8s")
_I_FRAGMENT = struct.Struct("!II8sI")
_PAD = struct.Struct("!BBH")
_ZEROS = bytes(1 << 16)
_WRAP = 0xFFFF_FFFF
_COMMON = 12
_WASTE = 16  # a fragment may be cut longer by a sixteenth to equal those of the message before


class TrainBuilder:
    """Fills the outbox from the send queue, or with what has to be sent again."""

    def __init__(
        self, outbox: Outbox, queue: SendQueue, outstanding: Outstanding, counters: Counters
    ) -> None:
        self._outbox = outbox
        self._queue = queue
        self._outstanding = outstanding
        self._counters = counters
        self.accepted: dict[int, int] = {}
        "Bytes by stream that have left since the caller last took them."
        self.set_packet_size(DATA_OVERHEAD + 4)
        self.set_interleaved(False)

    def set_packet_size(self, size: int) -> None:
        """Packets have at most so many bytes."""
        self.packet_size = size & ~3

    def set_interleaved(self, interleaved: bool) -> None:
        """Send I-DATA instead of DATA."""
        self._interleaved = interleaved
        self._overhead = I_DATA_OVERHEAD if interleaved else DATA_OVERHEAD

    @property
    def payload_size(self) -> int:
        """Bytes of payload in a full packet."""
        return self.packet_size - self._overhead

    def build(self, now: float, packets_at_most: int, bytes_at_most: int) -> Train | None:
        """Build a train of new data. Returns None when there is nothing to send.

        ``bytes_at_most`` is payload; a single packet may go beyond it, so that a small window is no deadlock.
        """
        queue, overhead = self._queue, self._overhead
        small = (self.packet_size >> 1) - overhead
        packet_size = 0
        packets = left = 0
        last_size = 0
        while packets < packets_at_most:
            message = queue.peek(now)
            if message is None:
                break
            if message.size <= small and not message.started:
                size = packet_size or self.packet_size
                if message.size + overhead > size or (packets and bytes_at_most - left < size - overhead):
                    break
                packet_size = size
                last_size, payload = self._bundle(packets, size, small, now, packets + 1 < packets_at_most)
                packets += 1
                left += payload
                if last_size < size:
                    break
                continue
            if message.started:  # the path may take less than when it was begun
                fragment = message.fragment_size = min(message.fragment_size, self.payload_size & ~3)
            else:
                fragment = self._cut(message.size, packet_size)
            if not packet_size:
                packet_size = overhead + fragment
            elif packet_size != overhead + fragment:
                break
            most = min(
                packets_at_most - packets, max((bytes_at_most - left) // fragment, 0 if packets else 1)
            )
            if most <= 0:
                break
            if not message.started:  # not sooner: a number that was given must go out
                message.start(self._interleaved, fragment)
            count, payload, last_size = self._fragments(message, packets, most)
            packets += count
            left += payload
            if last_size < packet_size:
                break
        if not packets:
            return None
        counters = self._counters
        counters.packets_sent += packets
        counters.bytes_sent += left
        counters.trains_sent += 1
        return Train((packets - 1) * packet_size + last_size, packet_size, packets)

    def _cut(self, size: int, packet_size: int) -> int:
        """The fragment size for a message, that of the train under way if that wastes little."""
        largest = self.payload_size & ~3
        count = -(-size // largest)
        even = (-(-size // count) + 3) & ~3
        current = packet_size - self._overhead
        if even <= current <= largest and (current - even) * _WASTE <= current:
            return current
        return even

    def _fragments(self, message: Message, packets: int, most: int) -> tuple[int, int, int]:
        """Build up to ``most`` packets of a message into the slots from ``packets`` on.

        Returns their number, their bytes of payload and the size of the last packet.
        """
        outbox, queue, overhead = self._outbox, self._queue, self._overhead
        fragment = message.fragment_size
        packet_size = overhead + fragment
        start = message.sent
        left = message.size - start
        count = -(-left // fragment)
        if count <= most:
            full = count - 1
            tail = left - full * fragment
            payload = left
        else:
            count = full = most
            tail = 0
            payload = full * fragment
        slots = outbox.slots(packet_size, overhead, packets + count)
        fsn = message.fragments_numbered
        first = self._outstanding.append(message, count, payload)
        tsn = first & _WRAP
        flags = message.flags
        chunk = packet_size - _COMMON
        middle = (flags << 16) | chunk
        word = ((flags | message.begins) << 16) | chunk if start == 0 else middle
        source = message.source
        if source is None:
            source = message.source = address_of(message.payload)
        view, words, state = outbox.view, outbox.words, outbox.state
        place = message.tail
        at = start
        if self._interleaved:
            pack = _I_FRAGMENT.pack_into
            kind = Kind.I_DATA << 24
            middle |= kind
            word |= kind
            number = fsn or message.ppid  # the first fragment carries the PPID in place of its number 0
            for offset, body, covered, index in slots[packets : packets + full]:
                pack(view, offset, word, tsn, place, number)
                copy(body, source + at, fragment)
                words[index] = extend_crc(state, covered)
                tsn = (tsn + 1) & _WRAP
                at += fragment
                word = middle
                fsn += 1
                number = fsn
        else:
            pack_data = _FRAGMENT.pack_into
            for offset, body, covered, index in slots[packets : packets + full]:
                pack_data(view, offset, word, tsn, place)
                copy(body, source + at, fragment)
                words[index] = extend_crc(state, covered)
                tsn = (tsn + 1) & _WRAP
                at += fragment
                word = middle
        last_size = packet_size
        if tail:
            more = packets + count < packets + most and queue.queued > left
            flags |= message.ends | (message.begins if at == 0 else 0)
            offset, body, covered, index = slots[packets + full]
            word = (flags << 16) | (overhead - _COMMON + tail)
            if self._interleaved:
                number = message.ppid if at == 0 else fsn
                _I_FRAGMENT.pack_into(view, offset, (Kind.I_DATA << 24) | word, tsn, place, number)
            else:
                _FRAGMENT.pack_into(view, offset, word, tsn, place)
            copy(body, source + at, tail)
            packet_at = offset - _COMMON
            last_size = self._end_packet(packet_at, packet_at + overhead + tail, packet_size, more)
        queue.took(message, payload)
        accepted, stream_id = self.accepted, message.stream.id
        accepted[stream_id] = accepted.get(stream_id, 0) + payload
        if message.sent == message.size:
            self._counters.messages_sent += 1
        return count, payload, last_size

    def _end_packet(self, start: int, end: int, packet_size: int, fill: bool) -> int:
        """Fill a packet's last word and, if asked, its rest with a PAD chunk; sum it up; returns its size."""
        view = self._outbox.view
        odd = (start - end) & 3
        if odd:
            view[end : end + odd] = _ZEROS[:odd]
            end += odd
        rest = start + packet_size - end
        if fill and rest:
            _PAD.pack_into(view, end, Kind.PAD, 0, rest)
            view[end + 4 : end + rest] = _ZEROS[: rest - 4]
            end += rest
        self._outbox.finish(start, end - start)
        return end - start

    def _bundle(
        self, packets: int, packet_size: int, small: int, now: float, may_fill: bool
    ) -> tuple[int, int]:
        """Fill one packet with small messages; returns its size and its bytes of payload."""
        outbox, queue, outstanding = self._outbox, self._queue, self._outstanding
        outbox.slots(packet_size, self._overhead, packets + 1)
        header = self._overhead - _COMMON
        start = packets * packet_size
        at = start + _COMMON
        end = start + packet_size
        view, accepted = outbox.view, self.accepted
        payload = 0
        message = queue.peek(now)
        while message is not None and message.size <= small and not message.started:
            size = message.size
            behind = at + header + size
            if behind > end:
                break
            message.start(self._interleaved, size)
            tsn = outstanding.append(message, 1, size) & _WRAP
            flags = message.flags | message.begins | message.ends
            self._pack_chunk(at, message, flags, size, tsn, message.ppid)
            view[at + header : behind] = message.payload
            odd = -size & 3
            if odd:
                view[behind : behind + odd] = _ZEROS[:odd]
            at = behind + odd
            payload += size
            queue.took(message, size)
            accepted[message.stream.id] = accepted.get(message.stream.id, 0) + size
            self._counters.messages_sent += 1
            message = queue.peek(now)
        return self._end_packet(start, at, packet_size, may_fill and message is not None), payload

    def _pack_chunk(self, at: int, message: Message, flags: int, size: int, tsn: int, number: int) -> None:
        view, stream_id = self._outbox.view, message.stream.id
        if self._interleaved:
            I_DATA_HEADER.pack_into(
                view, at, Kind.I_DATA, flags, 20 + size, tsn, stream_id, 0, message.mid, number
            )
        else:
            DATA_HEADER.pack_into(
                view, at, Kind.DATA, flags, 16 + size, tsn, stream_id, message.sequence, message.ppid
            )

    def build_again(self, packets_at_most: int, bytes_at_most: int) -> tuple[Train, list[tuple[int, int]]]:
        """Build a train of what is lost; returns it and the ranges of TSNs in it."""
        lost = self._outstanding.lost
        first = lost.firsts[0]
        fragment = self._outstanding.run_of(first).fragment_size
        packet_size = (self._overhead + fragment + 3) & ~3
        if 2 * packet_size <= self.packet_size:
            packet_size = self.packet_size
        tsns = self._lost_numbers(packets_at_most * (packet_size // (self._overhead - 8)))
        packets = left = used = 0
        last_size = packet_size
        while used < len(tsns) and packets < packets_at_most and (left < bytes_at_most or not packets):
            taken, payload, size = self._rebuild(packets, packet_size, tsns, used)
            if not taken:  # a larger fragment than those before: another train's
                break
            last_size = size
            used += taken
            packets += 1
            left += payload
            if last_size < packet_size:
                break
        ranges: list[tuple[int, int]] = []
        for tsn in tsns[:used]:
            if ranges and ranges[-1][1] == tsn - 1:
                ranges[-1] = (ranges[-1][0], tsn)
            else:
                ranges.append((tsn, tsn))
        for low, high in ranges:
            self._outstanding.resend(low, high)
        counters = self._counters
        counters.packets_sent += packets
        counters.packets_retransmitted += packets
        counters.chunks_retransmitted += used
        oversized = packet_size > self.packet_size
        whole = (packets - 1) * packet_size + last_size
        return Train(whole, packet_size, packets, is_oversized=oversized), ranges

    def build_one_again(self, tsn: int) -> Train:
        """Build a packet of one chunk that was sent before."""
        run = self._outstanding.run_of(tsn)
        packet_size = (self._overhead + run.fragment_size + 3) & ~3
        _, _, size = self._rebuild(0, packet_size, [tsn], 0)
        self._counters.packets_sent += 1
        self._counters.packets_retransmitted += 1
        self._counters.chunks_retransmitted += 1
        return Train(size, size, 1, is_oversized=size > self.packet_size)

    def _lost_numbers(self, most: int) -> list[int]:
        numbers: list[int] = []
        for first, last in self._outstanding.lost:
            numbers.extend(range(first, min(last, first + most - len(numbers) - 1) + 1))
            if len(numbers) >= most:
                break
        return numbers

    def _rebuild(self, packets: int, packet_size: int, tsns: list[int], used: int) -> tuple[int, int, int]:
        """Build one packet of old chunks; returns how many it took, their payload, and the packet's size."""
        outbox = self._outbox
        outbox.slots(packet_size, self._overhead, packets + 1)
        header = self._overhead - _COMMON
        start = packets * packet_size
        at = start + _COMMON
        end = start + packet_size
        view = outbox.view
        payload = taken = 0
        for tsn in islice(tsns, used, None):
            run = self._outstanding.run_of(tsn)
            message = run.message
            offset, size, flags = run.fragment(tsn)
            behind = at + header + size
            if behind > end:
                break
            number = run.fsn + tsn - run.first or message.ppid
            self._pack_chunk(at, message, flags, size, tsn & _WRAP, number)
            view[at + header : behind] = message.payload[offset : offset + size]
            odd = -size & 3
            if odd:
                view[behind : behind + odd] = _ZEROS[:odd]
            at = behind + odd
            payload += size
            taken += 1
        if not taken:
            return 0, 0, 0
        return taken, payload, self._end_packet(start, at, packet_size, used + taken < len(tsns))
