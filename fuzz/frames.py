"""The decoder of the share protocol: bytes are a frame, or refused, and cost no more than one walk."""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.target import Target
from p2pshare.errors import RemoteProtocolError
from p2pshare.protocol.codec import decode, encode
from tests.protocol.pair import CorePair

MAX_SIZE = 16_384


def run(source: bytes) -> None:
    """Decode it."""
    try:
        frame = decode(source, max_size=MAX_SIZE)
    except RemoteProtocolError as error:
        assert str(error).isprintable()
        return
    if frame is not None:
        again = encode(frame)
        assert decode(again, max_size=max(MAX_SIZE, len(again))) == frame


def seeds() -> Iterator[bytes]:
    """Every frame that two cores say to each other in a life of offers, jobs and endings."""
    for _, _, frame in conversation().log:
        yield encode(frame)


def conversation() -> CorePair:
    """Two cores that have said nearly everything there is to say."""
    pair = CorePair(max_frame=MAX_SIZE)
    job = pair.start(0, 100, 40_000, None)
    pair.send(pair.left, job)
    pair.exchange()
    pair.right.core.downloads.pause(job)
    pair.left.core.uploads.pause(job)
    for peer in (pair.left, pair.right):
        pair.drain(peer)
    pair.exchange()
    pair.right.core.downloads.resume(job)
    pair.left.core.uploads.resume(job)
    for peer in (pair.left, pair.right):
        pair.drain(peer)
    pair.run()
    for give_up in ("stop", "reset", "file", "file here"):
        job = pair.start(50_000, 50_000)
        pair.send(pair.left, job)
        if give_up == "stop":
            pair.right.core.downloads.stop(job, 6001, "enough")
        elif give_up == "reset":
            pair.left.core.uploads.reset(job, 6001, "enough")
        elif give_up == "file":
            pair.left.core.uploads.give_up_file(job, 0, 1180, "gone")
        else:
            pair.right.core.downloads.give_up_file(job, 1, 1180, "full")
        for peer in (pair.left, pair.right):
            pair.drain(peer)
        pair.run()
    offer = pair.offer(pair.right, *[10] * 300, message="many")
    pair.exchange()
    pair.left.core.downloads.ask_have(offer, [0, 5, 6])
    pair.drain(pair.left)
    pair.exchange()
    pair.left.core.downloads.decline(offer, 1181, "no")
    offer = pair.offer(pair.right, 1)
    pair.right.core.uploads.withdraw(offer, 1181, "gone")
    for peer in (pair.left, pair.right):
        pair.drain(peer)
    pair.wait(3)
    pair.exchange()
    return pair


TARGET = Target(run, seeds, MAX_SIZE)
