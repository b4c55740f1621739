"""The uploader's side: offers, jobs, and every frame that a downloader may not send."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest

from p2pshare.errors import FileTooLarge, LocalProtocolError, RemoteProtocolError, TransferError
from p2pshare.model import BLOCK_SIZE, ErrorCode, Extent, FileEnd, HeldBlocks, OfferedFile, Piece
from p2pshare.protocol import events as e
from p2pshare.protocol import frames as f
from p2pshare.protocol.outbox import CONTROL_CHANNEL
from p2pshare.protocol.states import JobState
from p2pshare.protocol.uploads import MAX_QUERIES
from tests.protocol.pair import CorePair, limits

COMPLETED = (JobState.COMPLETED, JobState.COMPLETED)


# Offers ------------------------------------------------------------------------------------------------


def test_a_hundred_thousand_files_travel_in_pages() -> None:
    pair = CorePair()
    files = [OfferedFile(index, ("photos", f"{index:06}.jpg"), 0) for index in range(100_000)]
    pair.offer_files(pair.left, files, "all of them")
    pair.exchange()
    offered = pair.right.of(e.OfferReceived)[0]
    assert offered.files == tuple(files)
    assert offered.message == "all of them"
    assert len(pair.sent(pair.left, f.Files)) > 50


def test_a_hundred_thousand_small_files_need_no_round_trip_a_file() -> None:
    pair = CorePair()
    job = pair.start(*[3] * 10_000)
    pair.run()
    assert pair.states(job) == COMPLETED
    assert len(pair.sent(pair.left, f.Data, f.Finish)) < 20
    assert len(pair.sent(pair.right, f.Confirm)) < 20


def test_a_file_above_the_peers_limit_fails_before_a_byte_is_read() -> None:
    pair = CorePair(limits=limits(max_file_size=1000))
    with pytest.raises(FileTooLarge, match="has 1,001 bytes, the limit is 1,000") as caught:
        pair.offer(pair.left, 5, 1001)
    assert caught.value.code == ErrorCode.FILE_TOO_LARGE
    assert caught.value.file == "file 1.bin"
    assert not pair.sent(pair.left, f.OfferFrame)


def test_more_files_than_the_peer_takes_fail_here() -> None:
    pair = CorePair(limits=limits(max_files=3))
    with pytest.raises(TransferError, match="4 files, the peer takes 3"):
        pair.offer(pair.left, 1, 2, 3, 4)


def test_offers_are_numbered_upwards_and_never_empty() -> None:
    pair = CorePair()
    pair.offer(pair.left, 1)
    for offer, files in ((1, [OfferedFile(0, ("a",), 1)]), (2, [])):
        with pytest.raises(LocalProtocolError):
            pair.left.core.uploads.offer(offer, files)


def test_a_message_that_does_not_fit_is_refused_here() -> None:
    pair = CorePair()
    with pytest.raises(LocalProtocolError):
        pair.offer(pair.left, 1, message="\N{SNOWMAN}" * 400)


def test_withdrawing_stops_the_pages_and_is_told_only_for_whole_offers() -> None:
    pair = CorePair()
    files = [OfferedFile(index, (f"{index:06}",), 0) for index in range(10_000)]
    first = pair.offer_files(pair.left, files)
    pair.left.core.uploads.withdraw(first, 1181)
    pair.drain(pair.left)
    pair.exchange()
    assert not pair.sent(pair.left, f.Files)
    assert not pair.right.of(e.OfferReceived)
    assert not pair.right.of(e.OfferWithdrawn)
    second = pair.offer(pair.left, 1)
    pair.exchange()
    for _ in range(2):
        pair.left.core.uploads.withdraw(second, 1181, "changed my mind")
        pair.drain(pair.left)
    pair.exchange()
    assert pair.right.of(e.OfferWithdrawn) == [e.OfferWithdrawn(second, 1181, "changed my mind")]
    assert not pair.left.core.uploads.is_offered(second)


def test_a_declined_offer_is_told_once() -> None:
    pair = CorePair()
    offer = pair.offer(pair.left, 1)
    pair.exchange()
    for _ in range(2):
        pair.right.core.downloads.decline(offer, 6002, "no")
        pair.drain(pair.right)
    pair.exchange()
    assert pair.left.of(e.OfferDeclinedByPeer) == [e.OfferDeclinedByPeer(offer, 6002, "no")]


def test_a_decline_that_crosses_a_withdraw_is_nothing() -> None:
    pair = CorePair()
    offer = pair.offer(pair.left, 1)
    pair.exchange()
    pair.right.core.downloads.decline(offer, 6002)
    pair.left.core.uploads.withdraw(offer, 1181)
    pair.drain(pair.left)
    pair.drain(pair.right)
    pair.exchange()
    assert pair.is_open()
    assert not pair.left.of(e.OfferDeclinedByPeer)
    assert not pair.right.of(e.OfferWithdrawn)


def test_accepting_what_is_withdrawn_meanwhile_is_reset_with_1181_and_the_stream_goes() -> None:
    pair = CorePair()
    offer = pair.offer(pair.left, 1)
    pair.exchange()
    pair.left.core.uploads.withdraw(offer, 1181)
    pair.drain(pair.left)
    job = pair.accept(pair.right, offer)
    pair.exchange()
    ended = pair.right.ended[job]
    assert (ended.state, ended.code, ended.remote) == (JobState.RESET, 1181, True)
    assert not pair.left.of(e.JobRequested)
    assert not pair.left.of(e.JobEnded)
    pair.assert_nothing_is_left()


def test_a_job_goes_on_when_its_offer_is_withdrawn() -> None:
    pair = CorePair()
    job = pair.start(50_000)
    pair.left.core.uploads.withdraw(1, 1181)
    pair.drain(pair.left)
    pair.run()
    assert pair.states(job) == COMPLETED


# Sending -----------------------------------------------------------------------------------------------


def test_credit_is_never_exceeded_however_slow_the_storing() -> None:
    pair = CorePair()
    job = pair.start(3_000_000)
    stored = 0
    while pair.left.state(job) is JobState.RUNNING:
        pair.send_all(pair.left)
        assert (
            sum(each.cost for each in pair.right.unstored) <= pair.right.core.downloads.jobs[job].window.size
        )
        pair.exchange()
        pair.store(pair.right)
        pair.confirm(pair.right, job)
        pair.exchange()
        stored += 1
        assert stored < 1000
    assert pair.states(job) == COMPLETED
    assert pair.right.most_held <= 256 * 1024


def test_nothing_is_sent_without_credit_and_all_when_it_comes() -> None:
    pair = CorePair()
    job = pair.start(1_000_000)
    pair.send_all(pair.left)
    assert pair.send(pair.left, job) == -1
    assert pair.left.sending[job]
    pair.exchange()
    pair.store_all(pair.right)
    pair.exchange()
    raised = [event for event in pair.left.of(e.CreditRaised) if event.job == job]
    assert raised[-1].stored == pair.left.core.uploads.jobs[job].stored > 0
    assert pair.send(pair.left, job) > 0


def test_pieces_of_files_that_were_given_up_are_left_out() -> None:
    pair = CorePair()
    job = pair.start(10, 10, 10)
    pair.right.core.downloads.give_up_file(job, 1, 5090)
    pair.drain(pair.right)
    pair.exchange()
    pair.run()
    assert pair.states(job) == COMPLETED
    finish = pair.sent(pair.left, f.Finish)[0]
    assert isinstance(finish, f.Finish)
    assert [end.index for end in finish.files] == [0, 2]
    assert (job, 1) not in pair.right.arrived


def test_a_queue_of_pieces_that_were_all_given_up_is_emptied() -> None:
    pair = CorePair()
    job = pair.start(10, 10)
    pair.right.core.downloads.give_up_file(job, 0, 5090)
    pair.drain(pair.right)
    pair.exchange()
    pieces: deque[Piece] = deque([Extent(0, 0, b"x"), FileEnd(0, 1, bytes(32))])
    assert pair.left.core.uploads.send(job, pieces) == -1
    assert not pieces


def test_nothing_is_sent_for_a_job_that_is_unknown() -> None:
    assert CorePair().left.core.uploads.send(99, deque([Extent(0, 0, b"x")])) == -1


def test_a_file_reset_midway_is_told_before_the_next_begins_even_when_the_stream_is_faster() -> None:
    pair = CorePair()
    job = pair.start(100_000, 500)
    pair.send(pair.left, job)
    pair.left.core.uploads.give_up_file(job, 0, 1182, "changed while being read")
    pair.drain(pair.left)
    pair.send_all(pair.left)
    pair.exchange(but=[("left", CONTROL_CHANNEL)])
    assert (job, 1) not in pair.right.arrived
    assert not pair.right.of(e.FileGivenUp)
    pair.exchange()
    assert pair.right.of(e.FileGivenUp) == [e.FileGivenUp(job, 0, 1182, "changed while being read")]
    assert len(pair.right.arrived[job, 1]) == 500
    pair.run()
    assert pair.states(job) == COMPLETED
    pair.assert_nothing_is_left()


def test_a_finished_file_cannot_be_given_up_by_its_sender() -> None:
    pair = CorePair()
    job = pair.start(10)
    pair.send_all(pair.left)
    pair.left.core.uploads.give_up_file(job, 0, 1182)
    pair.drain(pair.left)
    assert not pair.sent(pair.left, f.Reset)


def test_giving_up_the_last_file_completes_the_job_at_both_ends() -> None:
    pair = CorePair()
    job = pair.start(10, 70_000)
    pair.send_all(pair.left)
    pair.left.core.uploads.give_up_file(job, 1, 1182)
    pair.drain(pair.left)
    pair.run()
    assert pair.states(job) == COMPLETED


@pytest.mark.parametrize("by", ["left", "right"])
def test_a_paused_job_stands_still_until_neither_side_pauses_it(by: str) -> None:
    pair = CorePair()
    job = pair.start(1_000_000)
    sides: dict[str, tuple[Callable[[int], None], Callable[[int], None]]] = {
        "left": (pair.left.core.uploads.pause, pair.left.core.uploads.resume),
        "right": (pair.right.core.downloads.pause, pair.right.core.downloads.resume),
    }
    for name in ("left", "right"):
        sides[name][0](job)
        sides[name][0](job)  # twice is once
        pair.drain(getattr(pair, name))
    pair.exchange()
    assert len(pair.left.of(e.JobPaused)) == len(pair.right.of(e.JobPaused)) == 1
    pair.run()
    assert not pair.right.arrived
    other = "right" if by == "left" else "left"
    for name in (by, other):
        assert pair.left.core.uploads.credit(job) == 0
        sides[name][1](job)
        pair.drain(getattr(pair, name))
        pair.exchange()
    assert len(pair.left.of(e.JobResumed)) == len(pair.right.of(e.JobResumed)) == 1
    pair.run()
    assert pair.states(job) == COMPLETED


def test_a_job_waits_for_the_close_of_its_id_and_is_woken() -> None:
    pair = CorePair()
    first = pair.start(10)
    offer = pair.offer(pair.left, 1000)
    pair.exchange()
    pair.right.core.downloads.stop(first, 6001)
    pair.drain(pair.right)
    # Left has closed its end, but the news that its id is free is slow.
    channel = pair.sent(pair.right, f.Accept)[0].channel  # type: ignore[attr-defined]
    pair.deliver(("right", CONTROL_CHANNEL))
    while ("left", channel) in pair.waiting():
        pair.deliver(("left", channel))
        if ("right", channel) in pair.waiting() and channel in pair.right.ends:
            pair.deliver(("right", channel))
    assert channel not in pair.right.ends
    assert channel in pair.left.ends
    second = pair.accept(pair.right, offer)
    pair.exchange(but=[("right", channel)])
    assert pair.left.of(e.JobRequested)[-1].job == second
    assert pair.left.core.uploads.credit(second) == 0
    count = len(pair.left.of(e.CreditRaised))
    pair.exchange()
    assert len(pair.left.of(e.CreditRaised)) == count + 1
    pair.run()
    assert pair.states(second) == COMPLETED
    pair.assert_nothing_is_left()


# HAVE? -------------------------------------------------------------------------------------------------


def test_have_is_asked_and_answered_in_pages() -> None:
    pair = CorePair()
    files = [OfferedFile(index, (f"{index}",), 5) for index in range(30_000)]
    offer = pair.offer_files(pair.left, files)
    pair.exchange()
    asked = list(range(0, 30_000, 2))
    query = pair.right.core.downloads.ask_have(offer, asked)
    pair.drain(pair.right)
    pair.exchange()
    assert len(pair.sent(pair.right, f.HaveQuery)) > 1
    event = pair.left.of(e.HaveAsked)[0]
    assert list(event.files) == asked
    pair.left.core.uploads.answer_have(offer, query, [FileEnd(index, 5, bytes(32)) for index in asked])
    pair.drain(pair.left)
    pair.exchange()
    answers = pair.right.of(e.HaveAnswered)
    assert [answer.is_last for answer in answers] == [False] * (len(answers) - 1) + [True]
    assert sorted(index for answer in answers for index in answer.digests) == asked


def test_have_is_answered_empty_for_an_offer_that_is_gone() -> None:
    pair = CorePair()
    files = [OfferedFile(index, (f"{index}",), 5) for index in range(30_000)]
    offer = pair.offer_files(pair.left, files)
    pair.exchange()
    pair.left.core.uploads.withdraw(offer, 1181)
    pair.drain(pair.left)
    query = pair.right.core.downloads.ask_have(offer, range(0, 30_000, 2))
    pair.drain(pair.right)
    pair.exchange()
    assert pair.right.of(e.HaveAnswered) == [e.HaveAnswered(offer, query, {}, True)]
    assert pair.is_open()


def test_an_answer_after_the_end_of_the_link_goes_nowhere() -> None:
    pair = CorePair()
    offer = pair.offer(pair.left, 5)
    pair.exchange()
    pair.right.core.downloads.ask_have(offer, [0])
    pair.drain(pair.right)
    pair.exchange()
    pair.cut()
    pair.left.core.uploads.answer_have(offer, 1, [])
    assert pair.left.core.take_actions() == []


# What a downloader may not send --------------------------------------------------------------------------


def accept(job: int = 1, offer: int = 1, channel: int = 243, **more: object) -> f.Accept:
    fields = {"files": ((0, 0),), "limit": 100_000, "connection_limit": 100_000} | more
    return f.Accept(job, offer, channel, **fields)  # type: ignore[arg-type]  # a test names what it is about


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (accept(job=4), "ACCEPT: the job id 4 is not the peer's next"),
        (accept(job=1), "ACCEPT: the job id 1 is not the peer's next"),
        (accept(job=3, channel=242), "ACCEPT: the channel 242 is not the peer's to choose"),
        (accept(job=3, channel=240), "ACCEPT: the channel 240"),
        (accept(job=3, channel=257), "ACCEPT: the channel 257"),
        (accept(job=3, channel=241), "ACCEPT: the channel 241 is in use"),
        (accept(job=3, offer=2), "ACCEPT: there is no offer 2"),
        (accept(job=3, files=((1, 3),)), "ACCEPT: the offer has no file 3"),
        (accept(job=3, files=()), "ACCEPT: wants no file"),
        (accept(job=3, held=(HeldBlocks(7, 0, (bytes(32),)),)), "ACCEPT: holds blocks that file 7"),
        (accept(job=3, held=(HeldBlocks(0, 1, (bytes(32),)),)), "ACCEPT: holds blocks that file 0"),
        (accept(job=3, held=(HeldBlocks(0, 0, (bytes(32),)),) * 2), "ACCEPT: holds blocks of file 0 twice"),
        (f.RangesFrame(1), "RANGES while the job is running"),
        (f.RangesFrame(3), "RANGES: there is no job 3"),
        (f.Decline(2, 6002), "DECLINE: there is no offer 2"),
        (f.HaveQuery(2, 1, ((0, 0),)), "HAVE?: there is no offer 2"),
        (f.HaveQuery(1, 1, ((0, 3),)), "HAVE?: the offer has no file 3"),
        (f.Window(1, 3, 1), "WINDOW: there is no job 3"),
        (f.Window(1, 2, 1), "WINDOW: there is no job 2"),
        (f.Window(1, 1, 1, stored=1001), "WINDOW: 1001 bytes stored of 0 sent"),
        (f.Confirm(1, ((0, 0),)), "CONFIRM: file 0 is wanted"),
        (f.Confirm(1, ((0, 5),)), "CONFIRM: the job has no file 5"),
        (f.Confirm(3, ((0, 0),)), "CONFIRM: there is no job 3"),
        (f.Stop(3, 6001), "STOP: there is no job 3"),
        (f.Stop(1, 6001, file=2), "STOP: the job has no file 2"),
        (f.Stop(1, 6001, file=3), "STOP: the job has no file 3"),
        (f.Pause(3), "PAUSE: there is no job 3"),
        (f.Resume(3), "RESUME: there is no job 3"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_violation_ends_the_link_and_names_the_frame(frame: f.Frame, says: str) -> None:
    pair = CorePair()
    offer = pair.offer(pair.left, 1000, BLOCK_SIZE, 1000)
    pair.exchange()
    pair.accept(pair.right, offer, [0, 1])
    pair.exchange()
    pair.receive(pair.left, frame)
    assert isinstance(pair.left.error, RemoteProtocolError)
    assert says in str(pair.left.error)
    assert pair.sent(pair.left, f.Close)[0].code == 6006  # type: ignore[attr-defined]
    pair.exchange()
    assert pair.right.error is not None
    assert says.split(":")[0].split()[0] in str(pair.right.error)


def test_a_held_block_may_not_repeat_over_pages() -> None:
    pair = CorePair()
    pair.offer(pair.left, 3 * BLOCK_SIZE)
    pair.exchange()
    held = (HeldBlocks(0, 0, (bytes(32), bytes(32))),)
    pair.receive(pair.left, accept(held=held, more=True))
    pair.receive(pair.left, f.RangesFrame(1, held=(HeldBlocks(0, 1, (bytes(32),)),), more=True))
    assert "RANGES" not in str(pair.left.error)
    assert "holds blocks of file 0 twice" in str(pair.left.error)


def test_too_many_queries_at_once_end_the_link() -> None:
    pair = CorePair()
    pair.offer(pair.left, 5)
    pair.exchange()
    for query in range(1, MAX_QUERIES + 1):
        pair.receive(pair.left, f.HaveQuery(1, query, ((0, 0),)))
    assert pair.is_open()
    pair.receive(pair.left, f.HaveQuery(1, MAX_QUERIES + 1, ((0, 0),)))
    assert "HAVE?: too many at once" in str(pair.left.error)


def test_a_query_may_not_repeat_or_go_back() -> None:
    for second in (f.HaveQuery(1, 1, ((0, 0),)), f.HaveQuery(1, 1, ((1, 1),), more=True)):
        pair = CorePair()
        pair.offer(pair.left, 5, 5, 5)
        pair.exchange()
        pair.receive(pair.left, f.HaveQuery(1, 1, ((1, 1),), more=second.more))
        pair.receive(pair.left, second)
        assert isinstance(pair.left.error, RemoteProtocolError)


def test_frames_for_a_job_that_is_over_are_dropped() -> None:
    pair = CorePair()
    job = pair.start(10)
    pair.run()
    for frame in (
        f.Window(1, job, 1, 1),
        f.Confirm(job, ((0, 0),)),
        f.Stop(job, 6001),
        f.Pause(job),
        f.Resume(job),
        f.RangesFrame(job),
    ):
        pair.receive(pair.left, frame)
    assert pair.is_open()


def test_what_comes_before_the_last_page_is_not_told_of_a_job_that_nobody_knows() -> None:
    pair = CorePair()
    pair.offer(pair.left, 1, 1)
    pair.exchange()
    pair.receive(pair.left, accept(files=((0, 0),), more=True))
    pair.receive(pair.left, f.Pause(1))
    pair.receive(pair.left, f.Window(1, 1, 200_000))
    pair.receive(pair.left, f.Stop(1, 5090, file=1))
    assert not pair.left.of(e.JobPaused)
    assert not pair.left.of(e.CreditRaised)
    assert not pair.left.of(e.FileGivenUp)
    pair.receive(pair.left, f.RangesFrame(1, ((1, 1),)))
    assert pair.left.of(e.JobRequested)[0].files == (0,)
    assert pair.left.events[-1] == e.JobPaused(1)


def test_kept_and_declined_files_are_named_and_the_offer_stands() -> None:
    pair = CorePair()
    offer = pair.offer(pair.left, 1, 2, 3)
    pair.exchange()
    pair.right.core.downloads.keep(offer, [0])
    pair.right.core.downloads.decline_files(offer, [2, 1], 6002, "no")
    pair.drain(pair.right)
    pair.exchange()
    assert pair.left.of(e.FilesKept) == [e.FilesKept(offer, ((0, 0),))]
    assert pair.left.of(e.OfferDeclinedByPeer) == [e.OfferDeclinedByPeer(offer, 6002, "no", ((1, 2),))]
    assert pair.left.core.uploads.is_offered(offer)


@pytest.mark.parametrize("frame", [f.Kept(1, ((0, 3),)), f.Decline(1, 6002, "", ((3, 3),))])
def test_kept_and_decline_of_files_that_were_not_offered_end_the_link(frame: f.Frame) -> None:
    pair = CorePair()
    pair.offer(pair.left, 1, 2, 3)
    pair.exchange()
    pair.receive(pair.left, frame)
    assert "the offer has no file 3" in str(pair.left.error)


def test_the_key_of_an_offer_reaches_the_downloader() -> None:
    pair = CorePair()
    pair.left.core.uploads.offer(1, [OfferedFile(0, ("a",), 1)], key=bytes(range(16)))
    pair.drain(pair.left)
    pair.exchange()
    assert [event.key for event in pair.right.of(e.OfferReceived)] == [bytes(range(16))]
