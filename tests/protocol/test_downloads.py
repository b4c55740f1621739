"""The downloader's side: accepting, storing, giving up, and every frame that an uploader may not send."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from p2pshare.errors import DownloadNotAvailable, LocalProtocolError, RemoteProtocolError
from p2pshare.model import BLOCK_SIZE, ErrorCode, Extent, FileEnd, HeldBlocks, OfferedFile
from p2pshare.protocol import events as e
from p2pshare.protocol import frames as f
from p2pshare.protocol.downloads import wanted_size
from p2pshare.protocol.states import JobState
from tests.protocol.pair import CorePair, empty_folder, limits

COMPLETED = (JobState.COMPLETED, JobState.COMPLETED)
STOPPED = (JobState.STOPPED, JobState.STOPPED)
DIGEST = bytes(32)


# Accepting ---------------------------------------------------------------------------------------------


def test_all_files_arrive_in_order_and_exactly_once() -> None:
    pair = CorePair()
    job = pair.start(10, 0, 300_000, 5_000_000, 0, None, 1)
    pair.run()
    assert pair.states(job) == COMPLETED
    assert [len(pair.right.arrived[job, index]) for index in range(7)] == [
        10,
        0,
        300_000,
        5_000_000,
        0,
        1000,
        1,
    ]
    pair.assert_nothing_is_left()


def test_empty_files_between_an_end_and_a_beginning_keep_their_place() -> None:
    pair = CorePair()
    for size in range(130_700, 131_100, 13):  # the end of the first file shares a frame with the next, or not
        job = pair.start(size, 0, 0, 70_000, 0)
        pair.run()
        assert pair.states(job) == COMPLETED


def test_folders_that_hold_nothing_are_files_without_bytes() -> None:
    pair = CorePair()
    offer = pair.offer_files(pair.left, [empty_folder(0), empty_folder(1)])
    pair.exchange()
    job = pair.accept(pair.right, offer)
    pair.run()
    assert pair.states(job) == COMPLETED


def test_some_files_are_accepted_and_the_rest_later() -> None:
    pair = CorePair()
    offer = pair.offer(pair.left, 10, 20, 30, 40)
    pair.exchange()
    first = pair.accept(pair.right, offer, [3, 1, 1])
    pair.run()
    second = pair.accept(pair.right, offer, [0, 2])
    pair.run()
    assert pair.states(first) == pair.states(second) == COMPLETED
    assert sorted(pair.right.arrived) == [(first, 1), (first, 3), (second, 0), (second, 2)]


def test_an_offer_is_accepted_twice_at_once() -> None:
    pair = CorePair()
    offer = pair.offer(pair.left, 400_000)
    pair.exchange()
    jobs = [pair.accept(pair.right, offer) for _ in range(2)]
    pair.run()
    assert all(pair.states(job) == COMPLETED for job in jobs)


def test_accepting_what_is_not_offered_fails_here() -> None:
    pair = CorePair()
    downloads = pair.right.core.downloads
    for offer in (1, 99):
        with pytest.raises(DownloadNotAvailable):
            downloads.accept(offer, None)
        with pytest.raises(DownloadNotAvailable):
            downloads.ask_have(offer, [0])
    offer = pair.offer(pair.left, 1)
    pair.exchange()
    for indexes in ([1], [-1], []):
        with pytest.raises(LocalProtocolError):
            downloads.accept(offer, indexes)


def test_an_offer_cannot_be_accepted_before_its_last_page() -> None:
    pair = CorePair()
    pair.receive(pair.right, f.OfferFrame(1, 2, (OfferedFile(0, ("a",), 1),)))
    with pytest.raises(DownloadNotAvailable):
        pair.right.core.downloads.accept(1, None)


def test_accepting_every_other_of_many_files_goes_in_pages() -> None:
    pair = CorePair()
    offer = pair.offer_files(pair.left, [OfferedFile(index, (f"{index}",), 0) for index in range(30_000)])
    pair.exchange()
    job = pair.accept(pair.right, offer, range(0, 30_000, 2))
    pair.exchange()
    assert len(pair.sent(pair.right, f.RangesFrame)) >= 2
    pair.run()
    assert pair.states(job) == COMPLETED
    assert len(pair.right.arrived) == 15_000


def test_held_blocks_reach_the_uploader_in_order_whatever_their_number() -> None:
    pair = CorePair()
    offer = offer_large(pair)
    held = [
        HeldBlocks(1, 0, (bytes([9] * 32),)),
        HeldBlocks(0, 0, tuple(index.to_bytes(32, "big") for index in range(4000))),
        HeldBlocks(0, 4500, (DIGEST,)),
    ]
    job = pair.right.core.downloads.accept(offer, None, held)
    pair.drain(pair.right)
    with pytest.raises(KeyError):  # nobody reads 5,000 MiB here
        pair.exchange()
    event = pair.left.of(e.JobRequested)[0]
    assert event.job == job
    flat = {
        (blocks.index, blocks.first_block + at): digest
        for blocks in event.held
        for at, digest in enumerate(blocks.digests)
    }
    assert len(flat) == 4002
    assert flat[0, 3999] == (3999).to_bytes(32, "big")
    assert flat[1, 0] == bytes([9] * 32)


def offer_large(pair: CorePair) -> int:
    """A file that is too large to be made for a test."""
    files = [OfferedFile(0, ("big",), 5000 * BLOCK_SIZE), OfferedFile(1, ("small",), 1)]
    pair.left.core.uploads.offer(1, files)
    pair.drain(pair.left)
    pair.exchange()
    return 1


def test_jobs_beyond_the_streams_wait_their_turn_in_both_directions_at_once() -> None:
    pair = CorePair()
    jobs = []
    for by in (pair.left, pair.right):
        offer = pair.offer(by, 90_000)
        pair.exchange()
        jobs += [pair.accept(pair.other(by), offer) for _ in range(30)]
    pair.exchange()
    assert len(pair.left.ends) == len(pair.right.ends) == 16
    for peer, most in ((pair.left, 7), (pair.right, 8)):
        streams = [job.channel for job in peer.core.downloads.jobs.values() if job.channel is not None]
        assert len(streams) == len(set(streams)) == most
    pair.run()
    assert all(pair.states(job) == COMPLETED for job in jobs)
    pair.assert_nothing_is_left()


def fill_streams(pair: CorePair) -> int:
    """Every stream of right's is taken by a job that stands still: the offer."""
    offer = pair.offer(pair.left, 1000, 1000)
    pair.exchange()
    for _ in range(8):
        pair.accept(pair.right, offer)
    return offer


def test_a_queued_job_can_be_stopped_and_the_peer_never_hears_of_it() -> None:
    pair = CorePair()
    offer = fill_streams(pair)
    job = pair.accept(pair.right, offer)
    pair.right.core.downloads.stop(job, 6001, "no more")
    pair.drain(pair.right)
    pair.run()
    assert pair.right.ended[job].state is JobState.STOPPED
    assert job not in pair.left.ended
    pair.assert_nothing_is_left()


def test_a_file_of_a_queued_job_can_be_given_up() -> None:
    pair = CorePair()
    offer = fill_streams(pair)
    job = pair.accept(pair.right, offer)
    pair.right.core.downloads.give_up_file(job, 0, 5090)
    pair.drain(pair.right)
    pair.run()
    assert pair.is_open()
    assert pair.states(job) == COMPLETED
    assert (job, 0) not in pair.right.arrived
    assert (job, 1) in pair.right.arrived


def test_a_queued_job_whose_files_are_all_given_up_is_over() -> None:
    pair = CorePair()
    offer = fill_streams(pair)
    job = pair.accept(pair.right, offer)
    for index in (0, 1):
        pair.right.core.downloads.give_up_file(job, index, 5090)
    pair.drain(pair.right)
    pair.run()
    assert pair.right.ended[job].state is JobState.COMPLETED
    pair.assert_nothing_is_left()


def test_a_queued_job_that_is_paused_starts_paused() -> None:
    pair = CorePair()
    offer = fill_streams(pair)
    job = pair.accept(pair.right, offer)
    other = pair.accept(pair.right, offer)
    for paused in (job, other):
        pair.right.core.downloads.pause(paused)
    pair.right.core.downloads.resume(other)
    pair.drain(pair.right)
    pair.run()
    assert pair.states(other) == COMPLETED
    assert pair.states(job) == (JobState.RUNNING, JobState.RUNNING)
    pair.right.core.downloads.resume(job)
    pair.drain(pair.right)
    pair.run()
    assert pair.states(job) == COMPLETED


def accept_in_pages(pair: CorePair) -> int:
    """A job of which only the first page is out."""
    offer = pair.offer_files(pair.left, [OfferedFile(index, (f"{index}",), 0) for index in range(20_000)])
    pair.exchange()
    return pair.accept(pair.right, offer, range(0, 20_000, 2))


def test_a_file_is_given_up_before_the_page_that_wants_it_is_sent() -> None:
    pair = CorePair()
    job = accept_in_pages(pair)
    assert pair.right.state(job) is JobState.REQUESTED
    for index in (0, 19_998):
        pair.right.core.downloads.give_up_file(job, index, 5090)
    pair.drain(pair.right)
    pair.run()
    assert pair.is_open()
    assert pair.states(job) == COMPLETED
    assert len(pair.right.arrived) == 9_998


def test_all_files_are_given_up_before_the_last_page_is_sent() -> None:
    pair = CorePair()
    job = accept_in_pages(pair)
    for index in range(0, 20_000, 2):
        pair.right.core.downloads.give_up_file(job, index, 5090)
    pair.drain(pair.right)
    pair.run()
    assert pair.right.ended[job].state is JobState.COMPLETED
    assert not pair.left.of(e.JobRequested)
    pair.assert_nothing_is_left()


@pytest.mark.parametrize("then", ["stop", "cut", "withdraw"])
def test_a_job_ends_while_its_pages_are_on_their_way(then: str) -> None:
    pair = CorePair()
    job = accept_in_pages(pair)
    if then == "stop":
        pair.right.core.downloads.stop(job, 6001)
        pair.drain(pair.right)
    elif then == "cut":
        pair.cut()
    else:
        pair.left.core.uploads.withdraw(1, 1181)
        pair.drain(pair.left)
    pair.exchange()
    expected = {"stop": JobState.STOPPED, "cut": JobState.LOST, "withdraw": JobState.RESET}[then]
    assert pair.right.ended[job].state is expected
    if then == "withdraw":
        assert pair.right.ended[job].code == 1181
    assert not pair.left.core.uploads.jobs
    pair.assert_nothing_is_left()


# Storing and credit ------------------------------------------------------------------------------------


def test_storing_grants_credit_a_quarter_of_the_window_at_a_time() -> None:
    pair = CorePair()
    pair.start(4_000_000)
    pair.run()
    frames = len(pair.sent(pair.left, f.Data, f.Finish))
    grants = len(pair.sent(pair.right, f.Window))
    assert 0 < grants <= frames
    assert grants <= 4_000_000 / (64 * 1024) + 1


def test_the_window_grows_on_a_long_path_whose_disk_keeps_up() -> None:
    pair = CorePair()
    pair.now += 0.1  # a round trip of 100 ms
    pair.left.core.ping(pair.now - 0.1)
    pair.right.core.ping(pair.now - 0.1)
    pair.drain(pair.left)
    pair.drain(pair.right)
    pair.exchange()
    offer = pair.offer(pair.left, 30_000_000)
    pair.exchange()
    job = pair.accept(pair.right, offer)
    sizes = []
    while pair.right.state(job) is JobState.RUNNING:
        pair.exchange()
        sizes.append(pair.right.core.downloads.jobs[job].window.size)
        pair.send_all(pair.left)
        pair.now += 0.05
        pair.exchange()
        pair.store_all(pair.right)
        pair.now += 0.05
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (256 * 1024, 4 * 1024 * 1024)


def test_the_memory_budget_holds_windows_down() -> None:
    pair = CorePair(limits=limits(memory_budget=1_200_000))
    offer = pair.offer(pair.left, 3_000_000)
    pair.exchange()
    pair.right.core.downloads.rtt = 10.0
    jobs = [pair.accept(pair.right, offer) for _ in range(3)]
    pair.run()
    assert all(pair.states(job) == COMPLETED for job in jobs)
    assert pair.right.most_held <= 3 * 524_288
    pair.right.core.downloads.set_budget(1)
    job = pair.accept(pair.right, offer)
    pair.run()
    assert pair.states(job) == COMPLETED


def test_frames_that_are_larger_than_the_smallest_window_never_get_stuck() -> None:
    for max_frame in (16_384, 65_536):
        pair = CorePair(limits=limits(min_window=1, max_window=1), max_frame=max_frame)
        job = pair.start(*[7001] * 40, 500_000)
        pair.run()
        assert pair.states(job) == COMPLETED


def test_a_peer_that_takes_less_than_it_sends_never_gets_stuck() -> None:
    pair = CorePair(limits=limits(min_window=1), attach=False)
    pair.attach(pair.left)
    pair.attach(pair.right, max_message=16_384)
    pair.exchange()
    assert (pair.left.core.max_frame, pair.right.core.max_frame) == (65_536, 16_384)
    job = pair.start(10_000, 500_000, 3, 500_000)
    pair.run()
    assert pair.states(job) == COMPLETED


def test_a_thousand_cancelled_jobs_leak_no_credit() -> None:
    for is_deaf in (False, True):
        pair = CorePair(is_deaf_when_closing=is_deaf)
        offer = pair.offer(pair.left, 400_000)
        pair.exchange()
        for turn in range(1000):
            job = pair.accept(pair.right, offer)
            pair.exchange()
            pair.send_all(pair.left)
            if turn % 3 == 0:  # some has arrived, some has not
                pair.deliver(("left", pair.right.core.downloads.jobs[job].channel or 0))
            if turn % 5 == 0:
                pair.left.core.uploads.reset(job, 6001)
                pair.drain(pair.left)
            pair.right.core.downloads.stop(job, 6001)
            pair.drain(pair.right)
            pair.exchange()
        assert bool(pair.lost) == is_deaf
        pair.assert_nothing_is_left()
        job = pair.accept(pair.right, offer)
        pair.run()
        assert pair.states(job) == COMPLETED


def test_storing_for_a_job_that_is_over_changes_nothing() -> None:
    pair = CorePair()
    job = pair.start(300_000)
    pair.send_all(pair.left)
    pair.exchange()
    cost = pair.right.unstored[0].cost
    pair.right.core.downloads.stop(job, 6001)
    pair.right.core.downloads.stored(job, 1, cost, pair.now)
    pair.right.core.downloads.confirm(job, [0])
    pair.right.core.downloads.give_up_file(job, 0, 5090)
    pair.right.core.downloads.pause(job)
    pair.right.core.downloads.resume(job)
    pair.drain(pair.right)
    pair.exchange()
    pair.assert_nothing_is_left()


def test_what_was_not_received_can_neither_be_stored_nor_confirmed() -> None:
    pair = CorePair()
    job = pair.start(100)
    with pytest.raises(LocalProtocolError):
        pair.right.core.downloads.stored(job, 100, 100, pair.now)
    with pytest.raises(LocalProtocolError, match="file 0 is wanted"):
        pair.right.core.downloads.confirm(job, [0])


def test_confirming_every_other_of_many_files_goes_in_pages() -> None:
    pair = CorePair(max_frame=16_384)
    job = pair.start(*[0] * 5000)
    pair.send_all(pair.left)
    pair.exchange()
    for first in (0, 1):
        pair.right.core.downloads.confirm(job, range(first, 5000, 2))
    pair.drain(pair.right)
    assert len(pair.sent(pair.right, f.Confirm)) >= 4
    pair.exchange()
    assert pair.states(job) == COMPLETED


# Giving up ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", range(60))
@pytest.mark.parametrize("is_deaf", [False, True])
def test_a_job_is_stopped_or_reset_at_every_moment(moment: int, is_deaf: bool) -> None:
    for give_up in ("stop", "reset", "both", "stop file", "reset file", "both files"):
        pair = CorePair(is_deaf_when_closing=is_deaf, max_frame=16_384)
        offer = pair.offer(pair.left, 30_000, 0, 20_000)
        pair.exchange()
        job = pair.accept(pair.right, offer)
        left, right = pair.left.core.uploads, pair.right.core.downloads
        for step in range(moment):
            _one_step(pair, job, step)
        if "reset" in give_up or "both" in give_up:
            if "file" in give_up:
                left.give_up_file(job, 2, 1182)
            else:
                left.reset(job, 1182)
        if "stop" in give_up or "both" in give_up:
            if "file" in give_up:
                right.give_up_file(job, 2, 5090)
            else:
                right.stop(job, 6001)
        pair.drain(pair.left)
        pair.drain(pair.right)
        pair.run()
        assert pair.is_open()
        pair.assert_nothing_is_left()
        if job in pair.left.ended:
            here, there = pair.states(job)
            assert here is there or here is JobState.RESET


def _one_step(pair: CorePair, job: int, step: int) -> None:
    """The smallest thing that can happen next."""
    waiting = pair.waiting()
    if step % 3 == 0 and job in pair.left.sending and pair.send(pair.left, job) >= 0:
        return
    if step % 5 == 1 and pair.right.unstored:
        pair.store(pair.right)
    elif step % 7 == 2 and pair.right.unconfirmed.get(job):
        pair.confirm(pair.right, job)
    elif waiting:
        pair.deliver(waiting[step % len(waiting)])


def test_reset_and_stop_cross() -> None:
    pair = CorePair()
    job = pair.start(100)
    pair.left.core.uploads.reset(job, 1182, "unreadable")
    pair.right.core.downloads.stop(job, 6001, "cancelled")
    pair.drain(pair.left)
    pair.drain(pair.right)
    pair.exchange()
    assert pair.states(job) == (JobState.RESET, JobState.STOPPED)
    assert not pair.left.ended[job].remote
    assert not pair.right.ended[job].remote
    pair.assert_nothing_is_left()


def test_reset_and_the_last_confirm_cross() -> None:
    pair = CorePair()
    job = pair.start(100)
    pair.send_all(pair.left)
    pair.exchange()
    pair.store_all(pair.right)
    pair.left.core.uploads.reset(job, 1182)
    pair.drain(pair.left)
    pair.exchange()
    assert pair.states(job) == (JobState.RESET, JobState.COMPLETED)
    pair.assert_nothing_is_left()


def test_a_stop_tells_the_uploader_why() -> None:
    pair = CorePair()
    job = pair.start(100)
    pair.right.core.downloads.stop(job, ErrorCode.SAVE_FAILED, "disk full")
    pair.drain(pair.right)
    pair.exchange()
    assert pair.states(job) == STOPPED
    assert pair.left.ended[job] == e.JobEnded(job, JobState.STOPPED, 5090, "disk full", remote=True)


def test_giving_up_a_file_that_is_in_place_does_nothing() -> None:
    pair = CorePair()
    job = pair.start(10, 1_000_000)
    pair.send_all(pair.left)
    pair.exchange()
    pair.store_all(pair.right)
    pair.exchange()
    pair.right.core.downloads.give_up_file(job, 0, 5090)
    pair.drain(pair.right)
    assert not pair.sent(pair.right, f.Stop)
    pair.receive(pair.left, f.Stop(job, 5090, file=0))
    pair.run()
    assert pair.states(job) == COMPLETED


def test_the_link_is_cut_at_any_moment_and_every_job_is_over() -> None:
    for moment in range(0, 60, 3):
        pair = CorePair()
        offer = pair.offer(pair.left, 300_000, 10)
        pair.exchange()
        job = pair.accept(pair.right, offer)
        for step in range(moment):
            _one_step(pair, job, step)
        pair.cut()
        assert not pair.left.core.uploads.jobs
        assert not pair.right.core.downloads.jobs
        assert pair.right.ended[job].state in (JobState.LOST, JobState.COMPLETED)


# Limits on offers --------------------------------------------------------------------------------------


def declined(pair: CorePair) -> f.Decline:
    frame = pair.sent(pair.right, f.Decline)[-1]
    assert isinstance(frame, f.Decline)
    return frame


def test_a_file_too_large_declines_the_offer_and_says_the_limit() -> None:
    pair = CorePair(limits=limits(max_file_size=1000))
    pair.receive(pair.right, f.OfferFrame(1, 2, (OfferedFile(0, ("a",), 1),)))
    pair.receive(pair.right, f.Files(1, (OfferedFile(1, ("b",), 1001),)))
    assert declined(pair).code == 1185
    assert "1,001 bytes, the limit is 1,000" in declined(pair).reason
    assert not pair.right.of(e.OfferReceived)
    pair.receive(pair.right, f.Files(1, (OfferedFile(1, ("b",), 1),)))  # was on its way
    assert pair.is_open()


def test_too_many_files_decline_the_offer() -> None:
    pair = CorePair(limits=limits(max_files=3))
    pair.receive(pair.right, f.OfferFrame(1, 4, (OfferedFile(0, ("a",), 1),)))
    assert declined(pair).reason == "4 files, the limit is 3"


def test_too_many_files_in_all_offers_together_decline_the_last() -> None:
    pair = CorePair(limits=limits(max_files=3))
    for _ in range(2):
        pair.offer(pair.left, 1, 1, 1)
        pair.exchange()
    pair.receive(pair.right, f.OfferFrame(3, 1, (OfferedFile(0, ("a",), 1),)))
    assert declined(pair) == f.Decline(3, 6002, "6 files are offered already, the limit is 6")


def test_too_many_offers_decline_the_last() -> None:
    pair = CorePair(limits=limits(max_open_offers=2))
    for _ in range(3):
        pair.offer(pair.left, 1)
    pair.exchange()
    assert pair.left.of(e.OfferDeclinedByPeer) == [
        e.OfferDeclinedByPeer(3, 6002, "2 offers are open already")
    ]
    pair.right.core.downloads.decline(1, 6002)
    pair.drain(pair.right)
    pair.offer(pair.left, 1)
    pair.exchange()
    assert sorted(pair.right.core.downloads.offers) == [2, 4]


def test_lists_that_take_too_much_memory_decline_the_offer() -> None:
    pair = CorePair(limits=limits(max_offer_bytes=100_000))
    pair.offer_files(pair.left, [OfferedFile(i, ("x" * 200,), 1, preview=bytes(800)) for i in range(99)])
    pair.exchange()
    pair.offer_files(pair.left, [OfferedFile(0, ("x" * 2000,), 1)])
    pair.exchange()
    assert sorted(pair.right.core.downloads.offers) == [1]
    assert declined(pair) == f.Decline(2, 6002, "lists of more than 100,000 bytes")


def test_a_lost_link_withdraws_its_offers() -> None:
    pair = CorePair()
    offer = pair.offer(pair.left, 1)
    pair.exchange()
    pair.cut()
    assert pair.right.of(e.OfferWithdrawn) == [e.OfferWithdrawn(offer, 6004, "the connection broke")]


# What an uploader may not send ---------------------------------------------------------------------------


def file(index: int, size: int | None = 1, **more: object) -> OfferedFile:
    return OfferedFile(index, ("name",), size, **more)  # type: ignore[arg-type]  # a test names what it is about


def data(index: int, offset: int, size: int, job: int = 1) -> f.Data:
    return f.Data(job, (Extent(index, offset, bytes(size)),))


STREAM = 241
WHOLE = f.Finish(1, (FileEnd(0, 1000, DIGEST),), (Extent(0, 0, bytes(1000)),))


def after(*frames: f.Frame) -> Callable[[CorePair], None]:
    def receive(pair: CorePair) -> None:
        for frame in frames:
            pair.receive(pair.right, frame, STREAM)
        assert pair.is_open()

    return receive


@pytest.mark.parametrize(
    ("before", "frame", "channel", "says"),
    [
        (after(), f.OfferFrame(1, 1, (file(0),)), 240, "OFFER: 1 after 1"),
        (after(), f.OfferFrame(2, 2, ()), 240, "FILES: not the number"),
        (after(), f.OfferFrame(2, 1, (file(0), file(1))), 240, "FILES: not the number"),
        (after(), f.OfferFrame(2, 2, (file(1),)), 240, "FILES: file 1 where 0 is next"),
        (after(), f.OfferFrame(2, 1, (empty_folder(0), file(1))), 240, "FILES: not the number"),
        (
            after(),
            f.OfferFrame(2, 1, (file(0, 5, kind=empty_folder(0).kind),)),
            240,
            "FILES: the folder 0 has a size",
        ),
        (after(), f.Files(2, (file(0),)), 240, "FILES: there is no offer 2"),
        (after(), f.Files(1, (file(3),)), 240, "FILES: not the number"),
        (after(), f.Withdraw(2, 1181), 240, "WITHDRAW: there is no offer 2"),
        (after(), f.Reset(3, 1182), 240, "RESET: there is no job 3"),
        (after(), f.Reset(2, 1182), 240, "RESET: there is no job 2"),
        (after(), f.Reset(1, 1182, file=3), 240, "RESET: the job has no file 3"),
        (after(), f.Reset(1, 1182, file=2), 240, "RESET: the job has no file 2"),
        (
            after(WHOLE),
            f.Reset(1, 1182, file=0),
            240,
            "RESET: file 0 was finished",
        ),
        (after(), f.Have(1, 1, ()), 240, "HAVE: there is no query 1"),
        (after(), f.Ended(1, 0), 240, "ENDED: 0 bytes of job 1"),
        (after(), f.Ended(3, 0), 240, "ENDED: 0 bytes of job 3"),
        (after(), data(0, 0, 1), 243, "DATA: job 1 is not on channel 243"),
        (after(), data(0, 0, 1, job=2), 241, "DATA: job 2 is not on channel 241"),
        (after(), data(0, 0, 1, job=3), 241, "DATA: job 3 is not on channel 241"),
        (after(), data(3, 0, 1), 241, "DATA: the job has no file 3"),
        (after(), data(2, 0, 1), 241, "DATA: file 2 is unwanted"),
        (after(), data(0, 900, 101), 241, "DATA: file 0 is larger than was offered"),
        (after(data(0, 0, 10)), data(0, 9, 1), 241, "DATA: bytes of file 0 come twice"),
        (
            after(),
            f.Data(1, (Extent(0, 0, b"a"), Extent(1, 0, b"b"))),
            241,
            "DATA: file 1 begins before 0 is finished",
        ),
        (
            after(),
            f.Finish(1, (FileEnd(1, 5, DIGEST),), (Extent(0, 0, b"a"), Extent(1, 0, b"b"))),
            241,
            "FINISH: file 1 lacks bytes from 0 on",
        ),
        (after(), f.Finish(1, (FileEnd(0, 999, DIGEST),)), 241, "FINISH: file 0 has 999 bytes"),
        (after(), f.Finish(1, (FileEnd(0, 1001, DIGEST),)), 241, "FINISH: file 0 has 1001 bytes"),
        (
            after(WHOLE),
            WHOLE,
            241,
            "DATA: file 0 is finished",
        ),
        (after(WHOLE), data(0, 0, 1), 241, "DATA: file 0 is finished"),
        (after(data(1, 0, 60_000)), f.Finish(1, (FileEnd(1, 59_999, DIGEST),)), 241, "FINISH: file 1 has"),
        (after(), data(0, 10, 1), 241, "DATA: file 0 lacks bytes from 0 on"),
        (after(data(0, 0, 10)), data(0, 11, 1), 241, "DATA: file 0 lacks bytes from 10 on"),
        (after(data(0, 0, 10)), f.Finish(1, (FileEnd(0, 1000, DIGEST),)), 241, "FINISH: file 0 lacks bytes"),
        (after(), f.Finish(1, (FileEnd(1, 2**52, DIGEST),)), 241, "FINISH: file 1 lacks bytes from 0 on"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_violation_ends_the_link_and_names_the_frame(
    before: Callable[[CorePair], None], frame: f.Frame, channel: int, says: str
) -> None:
    pair = CorePair()
    offer = pair.offer_files(pair.left, [file(0, 1000), file(1, None), file(2, 1000)])
    pair.exchange()
    pair.accept(pair.right, offer, [0, 1])
    pair.exchange()
    before(pair)
    pair.receive(pair.right, frame, channel)
    assert isinstance(pair.right.error, RemoteProtocolError)
    assert says in str(pair.right.error)
    pair.exchange()
    assert pair.left.error is not None


def test_bytes_beyond_the_jobs_credit_end_the_link() -> None:
    pair = CorePair()
    job = pair.start(1_000_000)
    for at in range(0, 240_000, 60_000):
        pair.receive(pair.right, data(0, at, 60_000, job), STREAM)
    assert pair.is_open()
    pair.receive(pair.right, data(0, 240_000, 60_000, job), STREAM)
    assert "bytes beyond the credit" in str(pair.right.error)


def test_an_unknown_size_may_not_exceed_the_limit() -> None:
    pair = CorePair(limits=limits(max_file_size=1000))
    job = pair.start(None)
    pair.receive(pair.right, data(0, 0, 1000, job), STREAM)
    assert pair.is_open()
    pair.receive(pair.right, data(0, 1000, 1, job), STREAM)
    assert "larger than was offered" in str(pair.right.error)


def test_data_before_the_last_page_ends_the_link() -> None:
    pair = CorePair()
    job = accept_in_pages(pair)
    pair.receive(pair.right, f.Finish(job, (FileEnd(0, 0, DIGEST),)), STREAM)
    assert "FINISH while the job is requested" in str(pair.right.error)


def test_a_frame_for_a_queued_job_ends_the_link() -> None:
    pair = CorePair()
    offer = fill_streams(pair)
    job = pair.accept(pair.right, offer)
    pair.receive(pair.right, f.Pause(job))
    assert f"PAUSE: there is no job {job}" in str(pair.right.error)


def test_a_file_that_waits_for_a_reset_that_never_comes_holds_no_more_than_the_window() -> None:
    pair = CorePair()
    job = pair.start(1_000_000, 1_000_000)
    pair.receive(pair.right, data(0, 0, 60_000, job), STREAM)
    for at in range(3):
        pair.receive(pair.right, data(1, 60_000 * at, 60_000, job), STREAM)
    assert pair.is_open()
    assert (job, 1) not in pair.right.arrived
    pair.receive(pair.right, data(1, 180_000, 60_000, job), STREAM)
    assert "bytes beyond the credit" in str(pair.right.error)


@pytest.mark.parametrize("sent", [0, 10_000_000])
def test_an_end_that_does_not_fit_what_arrived_ends_the_link(sent: int) -> None:
    pair = CorePair()
    job = pair.start(100_000)
    pair.receive(pair.right, data(0, 0, 50_000, job), STREAM)
    pair.right.core.downloads.stop(job, 6001)
    pair.drain(pair.right)
    pair.receive(pair.right, f.Ended(job, sent))
    assert isinstance(pair.right.error, RemoteProtocolError)


def test_frames_for_a_job_that_is_over_are_dropped_but_counted_until_its_end_is_known() -> None:
    pair = CorePair()
    job = pair.start(1_000_000)
    connection = pair.right.core.downloads.connection
    pair.right.core.downloads.stop(job, 6001)
    pair.drain(pair.right)
    late = data(0, 0, 50_000, job)
    pair.receive(pair.right, late, STREAM)
    assert connection.received == connection.stored > 50_000
    pair.receive(pair.right, f.Ended(job, 2 * connection.received))
    counted = connection.received
    pair.receive(pair.right, late, STREAM)
    assert connection.received == connection.stored == counted
    for frame in (f.Reset(job, 1182), f.Reset(job, 1182, file=0), f.Pause(job), f.Resume(job)):
        pair.receive(pair.right, frame)
    assert pair.right.error is None
    assert not [event for event in pair.right.of(e.PiecesReceived) if event.job == job]


def test_the_size_of_what_is_wanted_is_known_unless_a_file_is_not() -> None:
    offered = [file(0, 5), file(1, 7), file(2, None)]
    assert wanted_size(offered, ((0, 1),)) == 12
    assert wanted_size(offered, ((0, 0), (2, 2))) is None
