"""What a peer may make a core keep, count or wait for: no more than it pays for itself."""

from __future__ import annotations

import msgpack
import pytest

from p2pshare.errors import RemoteProtocolError, SharingNotAvailable
from p2pshare.model import BLOCK_SIZE, Extent, FileEnd, HeldBlocks, OfferedFile, Piece
from p2pshare.protocol import events as e
from p2pshare.protocol import frames as f
from p2pshare.protocol.codec import decode, encode
from p2pshare.protocol.outbox import CONTROL_CHANNEL
from p2pshare.protocol.paging import joined
from p2pshare.protocol.ranges import FileState, JobFiles
from p2pshare.protocol.states import JobState, LinkState
from tests.protocol.pair import CorePair

DIGEST = bytes(32)


# Asking without listening ------------------------------------------------------------------------------


def clogged(pair: CorePair, frame: f.Frame) -> None:
    """Right takes a frame of left, which does not read what right has sent so far."""
    pair.right.core.receive_message(CONTROL_CHANNEL, encode(frame), pair.now, is_clogged=True)
    pair.drain(pair.right)


def test_pings_of_a_peer_that_does_not_read_are_not_answered_and_do_no_harm() -> None:
    pair = CorePair()
    before = len(pair.sent(pair.right, f.Pong))
    clogged(pair, f.Ping(7))
    assert len(pair.sent(pair.right, f.Pong)) == before
    assert pair.is_open()
    pair.receive(pair.right, f.Ping(8))
    assert pair.sent(pair.right, f.Pong)[before:] == [f.Pong(8)]


FILES = tuple(OfferedFile(index, ("name",), 2**53 - 1) for index in range(2))


@pytest.mark.parametrize(
    "frame",
    [
        f.Hello((1,), b"\0" * 16, False, 65_536, 1, 1),
        f.OfferFrame(2, 2**32 - 1, FILES),
        f.Accept(1, 1, 241, ((0, 0),), 0, 0),
        f.HaveQuery(1, 1, ((0, 0),)),
    ],
    ids=lambda frame: frame.WORD,
)
def test_whoever_asks_on_without_reading_the_answers_loses_the_link(frame: f.Frame) -> None:
    pair = CorePair()
    offer = pair.offer(pair.right, 5)
    pair.exchange()
    pair.right.core.uploads.withdraw(offer, 1181)
    pair.drain(pair.right)
    if isinstance(frame, f.Hello):
        assert pair.right.core.peer is not None
        frame = f.Hello((1,), pair.right.core.peer.nonce, False, 65_536, 1, 1)
    if isinstance(frame, f.Accept):
        parity = pair.left.core.uploads._outbox.parity
        frame = f.Accept(2 - parity, 1, 242 - parity, ((0, 0),), 0, 0)
    clogged(pair, frame)
    assert isinstance(pair.right.error, RemoteProtocolError)
    assert "does not take the answers" in str(pair.right.error)


# Short frames that mean much work ----------------------------------------------------------------------


def test_pages_of_an_accept_go_upwards_and_name_no_file_twice() -> None:
    pair = CorePair()
    pair.offer(pair.left, *[1] * 10)
    pair.exchange()
    pair.receive(pair.left, f.Accept(1, 1, 241, ((0, 3),), 1000, 1000, more=True))
    pair.receive(pair.left, f.RangesFrame(1, ((4, 4), (6, 7)), more=True))
    assert pair.left.error is None
    pair.receive(pair.left, f.RangesFrame(1, ((7, 8),), more=True))
    assert isinstance(pair.left.error, RemoteProtocolError)
    assert "RANGES: file 7 after 7" in str(pair.left.error)


def test_files_are_wanted_once_whatever_became_of_them() -> None:
    files = JobFiles(6)
    files.put(2, FileState.FAILED)  # given up before the page that names it
    files.want(1, 4)
    assert files.remaining == 3
    files.want(0, 5)
    assert files.remaining == 5
    assert files.wanted() == [0, 1, 3, 4, 5]
    with pytest.raises(IndexError):
        files.want(5, 6)


def test_pages_of_a_query_are_about_one_offer() -> None:
    pair = CorePair()
    pair.offer(pair.left, *[1] * 10)
    pair.offer(pair.left, 1, 2)
    pair.exchange()
    pair.receive(pair.left, f.HaveQuery(1, 5, ((9, 9),), more=True))
    pair.receive(pair.left, f.HaveQuery(2, 5, ()))
    assert isinstance(pair.left.error, RemoteProtocolError)
    assert "HAVE?: query 5 is about offer 1" in str(pair.left.error)
    assert not pair.left.of(e.HaveAsked)


def test_a_list_is_no_key_as_lists_of_one_hash_can_be_chosen() -> None:
    message = msgpack.packb([19, {"token": 1}])[:-8] + b"\x82\xa5token\x01\x92\x01\x02\x03"
    with pytest.raises(RemoteProtocolError, match="a key that is a list"):
        decode(message, max_size=1000)


def test_bytes_in_tiny_extents_become_one_piece() -> None:
    tiny = tuple(Extent(0, at, b"x") for at in range(3000))
    pair = CorePair()
    job = pair.start(3000, 2)
    pair.receive(pair.right, f.Data(job, tiny), 241)
    assert pair.right.of(e.PiecesReceived)[0].pieces == (Extent(0, 0, b"x" * 3000),)


def test_only_what_follows_in_the_same_file_is_joined() -> None:
    pieces: list[Piece] = [
        Extent(0, 0, b"a"),
        Extent(0, 1, memoryview(b"b")),
        FileEnd(0, 2, DIGEST),
        FileEnd(1, 0, DIGEST),
        Extent(2, 0, b"c"),
        Extent(2, 5, b"d"),
        Extent(2, 6, b"e"),
        Extent(3, 7, b"f"),
    ]
    assert list(joined(pieces)) == [
        Extent(0, 0, b"ab"),
        FileEnd(0, 2, DIGEST),
        FileEnd(1, 0, DIGEST),
        Extent(2, 0, b"c"),
        Extent(2, 5, b"de"),
        Extent(3, 7, b"f"),
    ]


# Bytes that never came ---------------------------------------------------------------------------------


def start_resumed(pair: CorePair, size: int) -> int:
    """A job whose downloader holds the blocks 1, 2 and 4."""
    offer = pair.offer(pair.left, size)
    pair.exchange()
    held = [HeldBlocks(0, 4, (DIGEST,)), HeldBlocks(0, 1, (DIGEST,)), HeldBlocks(0, 2, (DIGEST,))]
    job = pair.accept(pair.right, offer, None, held)
    pair.exchange()
    return job


def test_what_is_held_need_not_come_also_where_it_ends_the_file() -> None:
    pair = CorePair()
    job = start_resumed(pair, 4 * BLOCK_SIZE + 10)
    for block in (0, 3):
        for at in range(block * BLOCK_SIZE, (block + 1) * BLOCK_SIZE, 32_768):
            pair.receive(pair.right, f.Data(job, (Extent(0, at, bytes(32_768)),)), 241)
            pair.store_all(pair.right)
    end = FileEnd(0, 4 * BLOCK_SIZE + 10, DIGEST)
    pair.receive(pair.right, f.Finish(job, (end,)), 241)
    assert pair.right.error is None
    assert pair.right.of(e.PiecesReceived)[-1].pieces == (end,)


@pytest.mark.parametrize("offset", [BLOCK_SIZE, 3 * BLOCK_SIZE + 1, 4 * BLOCK_SIZE])
def test_what_is_not_held_has_to_come(offset: int) -> None:
    pair = CorePair()
    job = start_resumed(pair, 8 * BLOCK_SIZE)
    pair.receive(pair.right, f.Data(job, (Extent(0, offset, b"x"),)), 241)
    assert isinstance(pair.right.error, RemoteProtocolError)
    assert "DATA: file 0 lacks bytes from 0 on" in str(pair.right.error)


# Ends --------------------------------------------------------------------------------------------------


def test_giving_up_with_code_0_is_giving_up() -> None:
    pair = CorePair()
    job = pair.start(10)
    pair.receive(pair.right, f.Reset(job, 0))
    assert pair.right.state(job) is JobState.RESET
    pair = CorePair()
    job = pair.start(10)
    pair.receive(pair.left, f.Stop(job, 0))
    assert pair.left.state(job) is JobState.STOPPED


def test_a_peer_that_takes_tiny_messages_only_is_told_nothing() -> None:
    pair = CorePair(attach=False)
    pair.attach(pair.left, max_message=1000)
    assert pair.left.core.state is LinkState.CLOSED
    assert isinstance(pair.left.error, SharingNotAvailable)
    assert "1,000 bytes" in str(pair.left.error)
    assert not pair.log


def test_a_core_that_was_closed_does_not_greet() -> None:
    pair = CorePair(attach=False)
    pair.left.core.close(SharingNotAvailable("the session was closed"))
    pair.attach(pair.left)
    assert not pair.sent(pair.left, f.Hello)
