"""Two cores, anything at any moment: whatever is done, both ends agree in the end, and nothing is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from p2pshare.errors import ConnectionLost
from p2pshare.model import BLOCK_SIZE, HeldBlocks
from p2pshare.protocol import events as e
from p2pshare.protocol.outbox import CONTROL_CHANNEL
from p2pshare.protocol.ranges import indexes_of
from p2pshare.protocol.states import JobState
from tests.protocol.pair import CorePair, Peer, limits

CROSSINGS = {
    # (at the uploader, at the downloader), where they differ
    (JobState.RESET, JobState.STOPPED),  # RESET and STOP met on their way
    (JobState.RESET, JobState.COMPLETED),  # RESET met the last CONFIRM
    (JobState.COMPLETED, JobState.STOPPED),  # STOP met the RESET of the last file
}

sides = st.sampled_from(["left", "right"])
picks = st.integers(0, 1000)
sizes = st.lists(
    st.sampled_from([0, 1, 700, 16_000, 40_000, 90_000, None, BLOCK_SIZE + 5]), min_size=1, max_size=5
)


class TwoCores(RuleBasedStateMachine):
    @initialize(
        is_deaf=st.booleans(),
        right_is_first=st.booleans(),
        max_files=st.sampled_from([4, 100]),
        offers=st.lists(st.tuples(sides, sizes), min_size=1, max_size=4),
    )
    def begin(
        self, is_deaf: bool, right_is_first: bool, max_files: int, offers: list[tuple[str, list[int | None]]]
    ) -> None:
        self.pair = CorePair(
            limits=limits(min_window=1, max_window=200_000, max_files=max_files, lost_timeout_s=1e9),
            max_frame=16_384,
            attach=False,
            is_deaf_when_closing=is_deaf,
        )
        peers = [self.pair.left, self.pair.right]
        for peer in reversed(peers) if right_is_first else peers:
            self.pair.attach(peer)
        self.pair.exchange()
        assert self.pair.is_open()
        self.confirmed: set[tuple[int, int]] = set()
        self.accepted: dict[int, tuple[Peer, int]] = {}
        self.queries = 0
        for side, offered in offers:
            self.offer(side, offered)
        self.pair.exchange()

    def peer(self, side: str) -> Peer:
        peer = getattr(self.pair, side)
        assert isinstance(peer, Peer)
        return peer

    def one_of(self, jobs: dict[int, Any], pick: int) -> int | None:
        ids = sorted(jobs)
        return ids[pick % len(ids)] if ids else None

    def on_upload(self, side: str, pick: int, act: Callable[[Peer, int], object]) -> None:
        peer = self.peer(side)
        job = self.one_of(peer.sending, pick)
        if job is not None:
            act(peer, job)
            self.pair.drain(peer)

    def on_download(self, side: str, pick: int, act: Callable[[Peer, int], object]) -> None:
        peer = self.peer(side)
        job = self.one_of(peer.core.downloads.jobs, pick)
        if job is not None:
            act(peer, job)
            self.pair.drain(peer)

    # Offers --------------------------------------------------------------------------------------------

    @precondition(lambda self: not self.pair.is_cut)
    @rule(side=sides, sizes=sizes)
    def offer(self, side: str, sizes: list[int | None]) -> None:
        peer = self.peer(side)
        if len(sizes) <= peer.core.uploads.peer_max_files:
            self.pair.offer(peer, *sizes)

    @rule(
        side=sides, pick=picks, subset=st.none() | st.sets(st.integers(0, 4), min_size=1), hold=st.booleans()
    )
    def accept(self, side: str, pick: int, subset: set[int] | None, hold: bool) -> None:
        peer = self.peer(side)
        offer = self.one_of(peer.core.downloads.offers, pick)
        if offer is None or not peer.core.downloads.offers[offer].is_complete:
            return
        files = peer.core.downloads.offers[offer].files
        if subset is not None:
            subset = {index % len(files) for index in subset}
        held = []
        if hold:
            held = [HeldBlocks(file.index, 0, (bytes(32),)) for file in files if file.size]
        job = self.pair.accept(peer, offer, sorted(subset) if subset else None, held)
        self.accepted[job] = peer, offer

    @rule(
        side=sides,
        pick=picks,
        act=st.sampled_from(["decline", "withdraw", "ask_have", "answer_have", "ping", "set_budget", "cut"]),
    )
    def do_something_rare(self, side: str, pick: int, act: str) -> None:
        peer = self.peer(side)
        uploads, downloads = peer.core.uploads, peer.core.downloads
        offer = self.one_of(downloads.offers, pick)
        if act == "decline" and offer is not None and pick % 4 == 0:
            downloads.decline(offer, 6002, "no, thank you")
        elif act == "withdraw" and peer.offered and pick % 4 == 0:
            uploads.withdraw(sorted(peer.offered)[pick % len(peer.offered)], 1181)
        elif act == "ask_have" and offer is not None and self.queries < 16:
            downloads.ask_have(offer, [0])
            self.queries += 1
        elif act == "answer_have":
            for event in peer.of(e.HaveAsked):
                peer.events.remove(event)
                uploads.answer_have(event.offer, event.query, [])
                self.queries -= 1
        elif act == "ping" and not self.pair.is_cut:
            peer.core.ping(self.pair.now)
        elif act == "set_budget":
            downloads.set_budget([1, 100_000, 10_000_000][pick % 3])
        elif act == "cut" and pick % 10 == 7 and not self.pair.is_cut:
            self.pair.cut()
        self.pair.drain(peer)

    # Jobs ----------------------------------------------------------------------------------------------

    @rule(side=sides, pick=picks, count=st.integers(1, 6))
    def send(self, side: str, pick: int, count: int) -> None:
        for _ in range(count):
            self.on_upload(side, pick, self.pair.send)

    @rule(side=sides, pick=picks)
    def store_out_of_turn(self, side: str, pick: int) -> None:
        """Jobs store at their own pace: take any job's first piece."""
        peer = self.peer(side)
        jobs = {event.job: event for event in reversed(peer.unstored)}
        job = self.one_of(jobs, pick)
        if job is not None:
            event = jobs[job]
            peer.unstored.remove(event)
            peer.unstored.appendleft(event)
            self.pair.store(peer)

    @rule(side=sides)
    def store_all(self, side: str) -> None:
        self.pair.store_all(self.peer(side))

    @rule(side=sides, pick=picks)
    def confirm(self, side: str, pick: int) -> None:
        peer = self.peer(side)
        job = self.one_of(peer.unconfirmed, pick)
        if job is not None:
            self.pair.confirm(peer, job)

    @rule(side=sides, pick=picks, dice=st.integers(0, 3))
    def stop(self, side: str, pick: int, dice: int) -> None:
        if dice == 0:
            self.on_download(side, pick, lambda peer, job: peer.core.downloads.stop(job, 6001))

    @rule(side=sides, pick=picks, dice=st.integers(0, 3))
    def reset(self, side: str, pick: int, dice: int) -> None:
        if dice == 0:
            self.on_upload(side, pick, lambda peer, job: peer.core.uploads.reset(job, 1182))

    @rule(side=sides, pick=picks, file=st.integers(0, 4))
    def sender_gives_up_a_file(self, side: str, pick: int, file: int) -> None:
        def act(peer: Peer, job: int) -> None:
            uploads = peer.core.uploads
            uploads.give_up_file(job, file % len(uploads.jobs[job].files), 1182)

        self.on_upload(side, pick, act)

    @rule(side=sides, pick=picks, file=st.integers(0, 4))
    def receiver_gives_up_a_file(self, side: str, pick: int, file: int) -> None:
        def act(peer: Peer, job: int) -> None:
            downloads = peer.core.downloads
            files = downloads.jobs[job].files
            wanted = files.wanted()
            downloads.give_up_file(job, wanted[file % len(wanted)], 5090)

        self.on_download(side, pick, act)

    @rule(side=sides, pick=picks, is_upload=st.booleans(), act=st.sampled_from(["pause", "resume"]))
    def pause_or_resume(self, side: str, pick: int, is_upload: bool, act: str) -> None:
        def on_uploads(peer: Peer, job: int) -> None:
            getattr(peer.core.uploads, act)(job)

        def on_downloads(peer: Peer, job: int) -> None:
            getattr(peer.core.downloads, act)(job)

        if is_upload:
            self.on_upload(side, pick, on_uploads)
        else:
            self.on_download(side, pick, on_downloads)

    # The link ------------------------------------------------------------------------------------------

    @rule(pick=picks, count=st.integers(1, 10))
    def deliver_on_one_channel(self, pick: int, count: int) -> None:
        waiting = self.pair.waiting()
        if waiting:
            key = waiting[pick % len(waiting)]
            for _ in range(min(count, len(self.pair.flight[key]))):
                self.pair.deliver(key)

    @rule(pick=picks, side=sides)
    def send_and_deliver_its_stream(self, pick: int, side: str) -> None:
        self.send(side, pick, 3)
        for key in self.pair.waiting():
            if key[1] != CONTROL_CHANNEL:
                self.deliver_on_one_channel(self.pair.waiting().index(key), 3)

    @rule()
    def deliver_all(self) -> None:
        self.pair.exchange()

    @rule(side=sides)
    def deliver_all_but_one_sides_control(self, side: str) -> None:
        self.pair.exchange(but=[(side, CONTROL_CHANNEL)])

    @rule(seconds=st.sampled_from([0.001, 0.5, 6.0]))
    def wait(self, seconds: float) -> None:
        self.pair.wait(seconds, step=seconds)

    # What always holds ---------------------------------------------------------------------------------

    @invariant()
    def nobody_breaks_the_protocol(self) -> None:
        for peer in (self.pair.left, self.pair.right):
            assert peer.error is None or (self.pair.is_cut and isinstance(peer.error, ConnectionLost))

    @invariant()
    def streams_belong_to_jobs(self) -> None:
        for peer in (self.pair.left, self.pair.right):
            running = {
                job.channel
                for jobs in (peer.core.downloads.jobs, peer.core.uploads.jobs)
                for job in jobs.values()
            }
            for channel, end in peer.ends.items():
                assert channel == CONTROL_CHANNEL or end.has_sent_reset or channel in running

    @invariant()
    def windows_hold_what_is_not_stored(self) -> None:
        for peer in (self.pair.left, self.pair.right):
            for job in peer.core.downloads.jobs.values():
                assert job.window.held <= job.window.size <= 200_000
                assert job.window.received <= job.window.limit

    # The end -------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if not hasattr(self, "pair"):
            return
        for peer in (self.pair.left, self.pair.right):
            for job in list(peer.core.downloads.jobs):
                peer.core.downloads.resume(job)
            for job in list(peer.core.uploads.jobs):
                peer.core.uploads.resume(job)
            self.pair.drain(peer)
        self.pair.run()
        self.nobody_breaks_the_protocol()
        self.pair.assert_nothing_is_left()
        for job, (downloader, _) in self.accepted.items():
            self.assert_agreed(job, downloader)

    def assert_agreed(self, job: int, downloader: Peer) -> None:
        uploader = self.pair.other(downloader)
        there = downloader.state(job)
        assert there.is_over
        if job not in uploader.ended:  # it never heard of the job, or not all of it
            assert there in (JobState.STOPPED, JobState.COMPLETED, JobState.RESET, JobState.LOST)
            return
        here = uploader.state(job)
        if self.pair.is_cut:
            return
        assert here is there or (here, there) in CROSSINGS
        if here is there is JobState.COMPLETED:
            confirmed = {
                index
                for event in uploader.of(e.FilesConfirmed)
                if event.job == job
                for index in indexes_of(event.files)
            }
            offered = self.offered(uploader, job)
            for index in confirmed:
                assert downloader.arrived[job, index] == uploader.contents[offered, index]

    def offered(self, uploader: Peer, job: int) -> int:
        return next(event.offer for event in uploader.of(e.JobRequested) if event.job == job)


TestTwoCores = TwoCores.TestCase
TestTwoCores.settings = settings(
    deadline=None,
    max_examples=300,
    stateful_step_count=80,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
