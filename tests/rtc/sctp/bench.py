"""What the association itself costs: `python -m tests.rtc.sctp.bench`, in memory, without DTLS and sockets.

Prints microseconds of CPU of each half a data packet for bulk messages, and messages a second for small ones.
The receiver's figure holds the copy into its inbox (about 0.1 us), which is the decryption's job in earnest.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from random import random
from time import perf_counter as clock
from time import thread_time as spent

from p2pshare.rtc.sctp import Association, AssociationConfig
from p2pshare.rtc.sctp.memory import copy


def connect(config: AssociationConfig) -> tuple[Association, Association]:
    left = Association(config, is_client=True, random=os.urandom, now=0.0)
    right = Association(config, is_client=False, random=os.urandom, now=0.0)
    left.connect(0.0)
    now = 0.0
    for _ in range(8):
        now += 0.0001
        move(left, right, now)
        move(right, left, now)
    left.take_events()
    right.take_events()
    return left, right


def move(source: Association, target: Association, now: float) -> int:
    """Move everything that the source may send now."""
    moved = 0
    while (train := source.write(now)) is not None:
        moved += train.count
        size, left, at = train.packet_size, train.size, source.outbox
        for index in range(train.count):
            packet = min(size, left)
            copy(target.inbox, at + index * size, packet)
            target.receive_packet(packet, now)
            left -= packet
        target.end_of_batch(now)
    return moved


def bulk(config: AssociationConfig, message_size: int, total: int, loss: float = 0.0) -> str:
    left, right = connect(config)
    received = 0
    send_s = receive_s = sack_s = 0.0
    packets = 0

    def on_message(stream_id: int, ppid: int, payload: bytes) -> None:
        nonlocal received
        received += len(payload)

    right.on_message = on_message
    message = os.urandom(message_size)
    now = 1.0
    begun = clock()
    left_to_queue = total // message_size
    inbox, receive, outbox = right.inbox, right.receive_packet, left.outbox
    while received < total // message_size * message_size:
        now = 1.0 + clock() - begun
        while left_to_queue and left.buffered(1) < 1 << 20:
            left.send(1, 53, message, now=now)
            left_to_queue -= 1
        for _ in range(4):
            start = spent()
            train = left.write(now)
            send_s += spent() - start
            if train is None:
                break
            packets += train.count
            size, count = train.packet_size, train.count
            last = train.size - (count - 1) * size
            places = [(outbox + index * size, size) for index in range(count - 1)]
            places.append((outbox + (count - 1) * size, last))
            if loss:
                places = [place for place in places if random() >= loss]
            start = spent()
            for place, length in places:
                copy(inbox, place, length)
                receive(length, now)
            right.end_of_batch(now)
            receive_s += spent() - start
        start = spent()
        left.handle_timer(now)
        while (answer := right.write(now)) is not None:
            copy(left.inbox, right.outbox, answer.size)
            left.receive_packet(answer.size, now)
            left.end_of_batch(now)
        left.take_events()
        sack_s += spent() - start
    passed = clock() - begun
    return (
        f"{message_size:>7,} B messages: send {send_s / packets * 1e6:.2f} us, "
        f"receive {receive_s / packets * 1e6:.2f} us, SACKs {sack_s / packets * 1e6:.2f} us a packet; "
        f"{packets:,} packets, {total / passed / 1e6:,.0f} MB/s in one thread, "
        f"{left.stats().packets_retransmitted} resent, {left.stats().timeouts} timeouts"
    )


def small(config: AssociationConfig, message_size: int, count: int) -> str:
    left, right = connect(config)
    received = 0

    def on_message(stream_id: int, ppid: int, payload: bytes) -> None:
        nonlocal received
        received += 1

    right.on_message = on_message
    message = bytes(message_size)
    begun, started = clock(), spent()
    for _ in range(count):
        left.send(1, 53, message, now=1.0)
    queued = spent()
    while received < count:
        now = 1.0 + clock() - begun
        move(left, right, now)
        move(right, left, now)
        left.take_events()
    passed = spent() - started
    return (
        f"{message_size:>7,} B messages: {count / passed:,.0f} messages/s, both halves in one thread "
        f"({(queued - started) / count * 1e6:.2f} us to queue, {passed / count * 1e6:.2f} us in all)"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--data", action="store_true", help="DATA instead of I-DATA")
    parser.add_argument("--packet", type=int, default=1180)
    parser.add_argument("--loss", type=float, default=0.0, help="share of data packets to lose")
    options = parser.parse_args()
    config = AssociationConfig(
        interleaving=not options.data, initial_packet_size=options.packet, receive_window=3 << 20
    )
    write = sys.stdout.write
    for size in (65_536, 16_384, 262_144):
        write(bulk(config, size, options.mib << 20, options.loss) + "\n")
    for size in (100, 10):
        write(small(replace(config), size, 50_000) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
