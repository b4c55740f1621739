"""The downloader's side of a link: what peers offer, and the jobs that we accepted."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from p2pshare.errors import DownloadNotAvailable, LocalProtocolError, RemoteProtocolError
from p2pshare.model import (
    BLOCK_SIZE,
    ErrorCode,
    Extent,
    FileEnd,
    FileKind,
    HeldBlocks,
    OfferedFile,
    Piece,
    total_size,
)
from p2pshare.protocol import events as e
from p2pshare.protocol import frames as f
from p2pshare.protocol.outbox import FIRST_STREAM, LAST_STREAM, CloseChannel, OpenChannel, Outbox
from p2pshare.protocol.paging import in_order, joined, range_pages, want_pages
from p2pshare.protocol.ranges import FileState, JobFiles, indexes_of, to_ranges
from p2pshare.protocol.schema import MAX_TEXT
from p2pshare.protocol.states import JOB, JobState
from p2pshare.protocol.window import ReceiveWindow


@dataclass(slots=True)
class PeerOffer:
    """An offer of the peer, while it is good."""

    id: int
    count: int
    message: str | None
    key: bytes | None = None
    files: list[OfferedFile] = field(default_factory=list)
    size: int = 0
    "Bytes of names, previews and metadata."

    @property
    def is_complete(self) -> bool:
        """Whether all pages are there."""
        return len(self.files) == self.count


@dataclass(slots=True)
class DownloadJob:
    """One accepted download, at its downloader."""

    id: int
    offer: int
    offered: Sequence[OfferedFile]
    files: JobFiles
    held: Sequence[HeldBlocks]
    window: ReceiveWindow
    state: JobState = JobState.REQUESTED
    channel: int | None = None
    "The stream; None while the job waits for a free one."
    has_stream: bool = False
    current: int | None = None
    "The one file that is started and not finished."
    next_offset: int = 0
    parked: deque[tuple[f.Data | f.Finish, int]] = field(default_factory=deque)
    "Frames, with their cost, that came before the RESET of the file that they follow."
    received: int = 0
    "Bytes of files that have arrived."
    stored: int = 0
    paused_here: bool = False
    paused_there: bool = False
    _held_runs: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for blocks in self.held:
            start = blocks.first_block * BLOCK_SIZE
            end = start + blocks.size_in(self.offered[blocks.index])
            runs = self._held_runs.setdefault(blocks.index, [])
            if runs and runs[-1][1] == start:
                start = runs.pop()[0]
            runs.append((start, end))

    def holds(self, index: int, start: int, end: int) -> bool:
        """Whether these bytes of a file need not travel, as ACCEPT said."""
        if start >= end:
            return True
        runs = self._held_runs.get(index, ())
        at = bisect_right(runs, start, key=itemgetter(0)) - 1
        return at >= 0 and end <= runs[at][1]


class Downloads:
    """All offers and jobs of which this side is the downloader."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        limits = outbox.limits
        self.connection = ReceiveWindow(limits.min_window, limits.memory_budget)
        self.rtt = 0.0
        "Of the control channel, seconds; 0 while unknown."
        self.jobs: dict[int, DownloadJob] = {}
        self.offers: dict[int, PeerOffer] = {}
        self._budget = limits.memory_budget
        self._last_offer = 0
        self._last_job = 0
        self._queue: deque[DownloadJob] = deque()
        self._channels: dict[int, int | None] = {}  # channel -> job; None: closing
        self._queries: dict[int, int] = {}  # query -> offer
        self._unsettled: dict[
            int, int
        ] = {}  # job that is over, ENDED to come -> bytes its stream has brought
        self._last_query = 0

    @property
    def is_streaming(self) -> bool:
        """Whether a job has left the queue and runs."""
        return any(job.channel is not None for job in self.jobs.values())

    # Commands ------------------------------------------------------------------------------------------

    def accept(self, offer_id: int, indexes: Sequence[int] | None, held: Sequence[HeldBlocks] = ()) -> int:
        """Download files of an offer, all or those with these indexes; returns the job's id.

        The job waits for a free stream where all are taken.
        Raises:
            DownloadNotAvailable: The offer is withdrawn, declined or unknown.
        """
        offer = self.offers.get(offer_id)
        if offer is None or not offer.is_complete:
            raise DownloadNotAvailable("the file is no longer offered")
        files = JobFiles(offer.count)
        wanted = to_ranges(range(offer.count) if indexes is None else sorted(set(indexes)))
        try:
            for first, last in wanted:
                files.want(first, last)
        except IndexError:
            raise LocalProtocolError(f"offer {offer_id} has {offer.count} files") from None
        if not files.remaining:
            raise LocalProtocolError("nothing to download")
        limits = self._outbox.limits
        self._last_job += 2 if self._last_job else 2 - self._outbox.parity
        # Less than a quarter is never granted (ReceiveWindow.grant): the rest must hold the largest frame.
        window = ReceiveWindow(max(limits.min_window, 4 * self._outbox.max_received), limits.max_window)
        in_order_held = sorted(held, key=lambda blocks: (blocks.index, blocks.first_block))
        job = DownloadJob(self._last_job, offer_id, tuple(offer.files), files, in_order_held, window)
        self.jobs[job.id] = job
        self._queue.append(job)
        self._start_queued()
        return job.id

    def _start_queued(self) -> None:
        first = FIRST_STREAM + (FIRST_STREAM + self._outbox.parity) % 2
        while self._queue:
            free = next((c for c in range(first, LAST_STREAM + 1, 2) if c not in self._channels), None)
            if free is None:
                return
            job = self._queue.popleft()
            job.channel = free
            job.has_stream = True
            self._channels[free] = job.id
            self._share_memory()
            self._outbox.act(OpenChannel(free))
            self._outbox.pages(self._accept_pages(job, free), lambda job=job: job.id in self.jobs)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            if job.paused_here:
                self._outbox.control(f.Pause(job.id))

    def _accept_pages(self, job: DownloadJob, channel: int) -> Iterator[f.Accept | f.RangesFrame]:
        is_first = True
        limit = job.window.raise_limit()
        connection_limit = self.connection.raise_limit()
        wanted = to_ranges(job.files.wanted())
        for files, held, more in want_pages(wanted, job.held, self._outbox.max_frame):
            if not more:
                job.state = JobState.RUNNING
            if is_first:
                yield f.Accept(job.id, job.offer, channel, files, limit, connection_limit, held, more)
            else:
                yield f.RangesFrame(job.id, files, held, more)
            is_first = False

    def decline(self, offer_id: int, code: int, reason: str = "") -> None:
        """Refuse an offer; idempotent. Jobs that run go on."""
        if self.offers.pop(offer_id, None) is not None:
            self._outbox.control(f.Decline(offer_id, code, reason))

    def decline_files(self, offer_id: int, indexes: Sequence[int], code: int, reason: str = "") -> None:
        """Refuse some files of an offer, which stands for the others."""
        if offer_id in self.offers and indexes:
            for page in range_pages(to_ranges(sorted(set(indexes))), self._outbox.max_frame - MAX_TEXT):
                self._outbox.control(f.Decline(offer_id, code, reason, page))

    def keep(self, offer_id: int, indexes: Sequence[int]) -> None:
        """Tell that these files of an offer are in place already, and that no job has to bring them."""
        if offer_id in self.offers and indexes:
            for page in range_pages(to_ranges(sorted(set(indexes))), self._outbox.max_frame):
                self._outbox.control(f.Kept(offer_id, page))

    def ask_have(self, offer_id: int, indexes: Sequence[int]) -> int:
        """Ask for the digests of offered files; returns the query's id, for HaveAnswered.

        Raises:
            DownloadNotAvailable: The offer is withdrawn, declined or unknown.
        """
        if offer_id not in self.offers:
            raise DownloadNotAvailable("the file is no longer offered")
        self._last_query += 1
        query = self._last_query
        self._queries[query] = offer_id
        pages = list(range_pages(to_ranges(sorted(set(indexes))), self._outbox.max_frame)) or [()]
        for at, page in enumerate(pages):
            self._outbox.control(f.HaveQuery(offer_id, query, page, at + 1 < len(pages)))
        return query

    def stored(self, job_id: int, size: int, cost: int, now: float) -> None:
        """Bytes of files have been written: ``cost`` is what PiecesReceived said. Grants credit."""
        job = self.jobs.get(job_id)
        if job is None:
            return  # its credit went back when it ended
        job.stored += size
        job.window.store(cost, now, self.rtt)
        self.connection.store(cost, now, 0.0)
        self._share_memory()
        limit = job.window.grant()
        if limit is not None:
            self._outbox.control(f.Window(self.connection.raise_limit(), job_id, limit, job.stored))

    def confirm(self, job_id: int, indexes: Sequence[int]) -> None:
        """These files are verified, fsynced and in place."""
        job = self.jobs.get(job_id)
        if job is None or not indexes:
            return
        for index in indexes:
            if job.files[index] is not FileState.FINISHED:
                raise LocalProtocolError(f"file {index} is {job.files[index].name.lower()}")
            job.files.put(index, FileState.CONFIRMED)
        for page in range_pages(to_ranges(sorted(indexes)), self._outbox.max_frame):
            self._outbox.control(f.Confirm(job_id, page))
        self._complete_if_done(job)

    def give_up_file(self, job_id: int, index: int, code: int, reason: str = "") -> None:
        """STOP one file; the job goes on, and completes with the others."""
        job = self.jobs.get(job_id)
        if job is None or job.files[index] in (FileState.CONFIRMED, FileState.FAILED):
            return
        if job.channel is not None:  # else the peer has not heard of the job, and will not of this file
            self._outbox.control(f.Stop(job_id, code, reason, index))
        self._fail_file(job, index)

    def stop(self, job_id: int, code: int, reason: str = "") -> None:
        """Give up a job; idempotent."""
        job = self.jobs.get(job_id)
        if job is None:
            return
        if job.channel is not None:
            self._outbox.control(f.Stop(job_id, code, reason))
        self._end(job, JobState.STOPPED, code, reason)

    def pause(self, job_id: int) -> None:
        """Pause a job from this side, also one that waits for its stream; idempotent."""
        job = self.jobs.get(job_id)
        if job is not None and not job.paused_here:
            job.paused_here = True
            if job.channel is not None:
                self._outbox.control(f.Pause(job_id))

    def resume(self, job_id: int) -> None:
        """Undo pause()."""
        job = self.jobs.get(job_id)
        if job is not None and job.paused_here:
            job.paused_here = False
            if job.channel is not None:
                self._outbox.control(f.Resume(job_id))

    def set_budget(self, size: int) -> None:
        """This link's share of the memory budget, in bytes; windows stop growing there, but never shrink."""
        self._budget = size
        self._share_memory()

    # Frames on the control channel -----------------------------------------------------------------------

    def offer_received(self, frame: f.OfferFrame) -> None:
        """OFFER: the first page."""
        limits = self._outbox.limits
        if frame.offer <= self._last_offer:
            raise RemoteProtocolError(f"OFFER: {frame.offer} after {self._last_offer}")
        self._last_offer = frame.offer
        open_files = sum(offer.count for offer in self.offers.values())
        if len(self.offers) >= limits.max_open_offers:
            refusal = f"{len(self.offers)} offers are open already"
        elif frame.count > limits.max_files:
            refusal = f"{frame.count:,} files, the limit is {limits.max_files:,}"
        elif open_files + frame.count > 2 * limits.max_files:
            refusal = f"{open_files:,} files are offered already, the limit is {2 * limits.max_files:,}"
        else:
            self.offers[frame.offer] = PeerOffer(frame.offer, frame.count, frame.message, frame.key)
            self._add_files(frame.offer, frame.files)
            return
        self._outbox.answer(f.Decline(frame.offer, ErrorCode.DECLINED, refusal))

    def files_received(self, frame: f.Files) -> None:
        """FILES: a further page."""
        if frame.offer > self._last_offer:
            raise RemoteProtocolError(f"FILES: there is no offer {frame.offer}")
        if frame.offer in self.offers:
            self._add_files(frame.offer, frame.files)

    def _add_files(self, offer_id: int, files: tuple[OfferedFile, ...]) -> None:
        offer = self.offers[offer_id]
        limit = self._outbox.limits.max_file_size
        if not files or len(offer.files) + len(files) > offer.count:
            raise RemoteProtocolError("FILES: not the number of files that OFFER said")
        for file in files:
            if file.index != len(offer.files):
                raise RemoteProtocolError(f"FILES: file {file.index} where {len(offer.files)} is next")
            if file.kind is FileKind.DIRECTORY and file.size != 0:
                raise RemoteProtocolError(f"FILES: the folder {file.index} has a size")
            if file.size is not None and file.size > limit:
                refusal = f"a file has {file.size:,} bytes, the limit is {limit:,}"
                self._refuse(offer_id, ErrorCode.FILE_TOO_LARGE, refusal)
                return
            offer.files.append(file)
            offer.size += _size_of(file)
        most = self._outbox.limits.max_offer_bytes
        if sum(each.size for each in self.offers.values()) > most:
            self._refuse(offer_id, ErrorCode.DECLINED, f"lists of more than {most:,} bytes")
            return
        if offer.is_complete:
            self._outbox.tell(e.OfferReceived(offer_id, tuple(offer.files), offer.message, offer.key))

    def _refuse(self, offer_id: int, code: int, reason: str) -> None:
        del self.offers[offer_id]
        self._outbox.answer(f.Decline(offer_id, code, reason))

    def withdraw_received(self, frame: f.Withdraw) -> None:
        """WITHDRAW: the offer is gone."""
        if frame.offer > self._last_offer:
            raise RemoteProtocolError(f"WITHDRAW: there is no offer {frame.offer}")
        offer = self.offers.pop(frame.offer, None)
        if offer is not None and offer.is_complete:
            self._outbox.tell(e.OfferWithdrawn(frame.offer, frame.code, frame.reason))

    def reset_received(self, frame: f.Reset) -> None:
        """RESET: the uploader gives up a file, or the job."""
        job = self._job(frame.job, f.Reset)
        if job is None:
            return
        if frame.file is None:
            self._end(job, JobState.RESET, frame.code, frame.reason, remote=True)
            return
        if frame.file >= len(job.files) or job.files[frame.file] is FileState.UNWANTED:
            raise RemoteProtocolError(f"RESET: the job has no file {frame.file}")
        if job.files[frame.file] not in (FileState.WANTED, FileState.STARTED):
            if job.files[frame.file] is FileState.FAILED:
                self._deliver(job)
                return
            raise RemoteProtocolError(f"RESET: file {frame.file} was finished")
        self._outbox.tell(e.FileGivenUp(job.id, frame.file, frame.code, frame.reason))
        self._fail_file(job, frame.file)
        self._deliver(job)

    def ended_received(self, frame: f.Ended) -> None:
        """ENDED: what a stream has carried, so that what was lost with it is not lost to the connection."""
        received = self._unsettled.pop(frame.job, None)
        if received is None or frame.sent < received:
            raise RemoteProtocolError(
                f"ENDED: {frame.sent} bytes of job {frame.job}, {received} have arrived"
            )
        self.connection.take(frame.sent - received, frame.WORD)
        self._drop(frame.sent - received)

    def pause_received(self, frame: f.Pause | f.Resume) -> None:
        """PAUSE or RESUME by the uploader."""
        job = self._job(frame.job, type(frame))
        if job is not None:
            job.paused_there = isinstance(frame, f.Pause)
            self._outbox.tell(e.JobPaused(job.id) if job.paused_there else e.JobResumed(job.id))

    def have_received(self, frame: f.Have) -> None:
        """HAVE: digests that we asked for."""
        if self._queries.get(frame.query) != frame.offer:
            raise RemoteProtocolError(f"HAVE: there is no query {frame.query}")
        if not frame.more:
            del self._queries[frame.query]
        digests = {end.index: (end.size, end.digest) for end in frame.files}
        self._outbox.tell(e.HaveAnswered(frame.offer, frame.query, digests, not frame.more))

    # Frames on a job stream ------------------------------------------------------------------------------

    def stream_received(self, channel: int, frame: f.Data | f.Finish, cost: int) -> None:
        """DATA or FINISH on a stream; ``cost`` is the message's size in bytes."""
        job = self.jobs.get(frame.job)
        if job is None or job.channel != channel:
            if job is not None or frame.job > self._last_job or frame.job % 2 != self._outbox.parity:
                raise RemoteProtocolError(f"{frame.WORD}: job {frame.job} is not on channel {channel}")
            if frame.job in self._unsettled:  # else ENDED was faster, and counted it
                self._unsettled[frame.job] += cost
                self.connection.take(cost, frame.WORD)
                self._drop(cost)
            return
        if (job.state, type(frame)) not in JOB:
            raise RemoteProtocolError(f"{frame.WORD} while the job is {job.state.value}")
        self.connection.take(cost, frame.WORD)
        job.window.take(cost, frame.WORD)
        job.parked.append((frame, cost))
        self._deliver(job)

    def _deliver(self, job: DownloadJob) -> None:
        """Hand on what has arrived, up to a frame that has to wait for the RESET of an unfinished file.

        RESET comes on the control channel, which may be slower than the stream. What waits is bounded by the
        job's credit.
        """
        while job.parked and not job.state.is_over:
            frame, cost = job.parked[0]
            # Asked for each frame that comes while one waits: only its first pieces are looked at.
            if job.current is not None and not self._continues(job, job.current, _pieces_of(frame)):
                return
            job.parked.popleft()
            taken = tuple(joined(piece for piece in _pieces_of(frame) if self._take(job, piece)))
            self._outbox.tell(e.PiecesReceived(job.id, taken, cost))

    def _continues(self, job: DownloadJob, current: int, pieces: Iterable[Piece]) -> bool:
        """Whether the first of these pieces that counts is of the current file (or wrong, for _take)."""
        for piece in pieces:
            if piece.index == current or piece.index >= len(job.files):
                return True
            if job.files[piece.index] is not FileState.FAILED:
                return job.files[piece.index] is not FileState.WANTED
        return True

    def _take(self, job: DownloadJob, piece: Piece) -> bool:
        """Check a piece against what the job may still carry; False: it is of a file that was given up."""
        if piece.index >= len(job.files):
            raise RemoteProtocolError(f"DATA: the job has no file {piece.index}")
        state = job.files[piece.index]
        if state is FileState.FAILED:
            return False
        if state not in (FileState.WANTED, FileState.STARTED):
            raise RemoteProtocolError(f"DATA: file {piece.index} is {state.name.lower()}")
        if job.current != piece.index:
            if job.current is not None:
                raise RemoteProtocolError(f"DATA: file {piece.index} begins before {job.current} is finished")
            job.current = piece.index
            job.next_offset = 0
            job.files.put(piece.index, FileState.STARTED)
        declared = job.offered[piece.index].size
        if isinstance(piece, Extent):
            self._take_extent(job, piece, declared)
        else:
            self._take_end(job, piece, declared)
        return True

    def _take_extent(self, job: DownloadJob, extent: Extent, declared: int | None) -> None:
        end = extent.offset + len(extent.payload)
        if extent.offset < job.next_offset:
            raise RemoteProtocolError(f"DATA: bytes of file {extent.index} come twice")
        if end > (self._outbox.limits.max_file_size if declared is None else declared):
            raise RemoteProtocolError(f"DATA: file {extent.index} is larger than was offered")
        if not job.holds(extent.index, job.next_offset, extent.offset):
            raise RemoteProtocolError(f"DATA: file {extent.index} lacks bytes from {job.next_offset:,} on")
        job.next_offset = end
        job.received += len(extent.payload)

    def _take_end(self, job: DownloadJob, end: FileEnd, declared: int | None) -> None:
        if end.size < job.next_offset or (declared is not None and end.size != declared):
            raise RemoteProtocolError(f"FINISH: file {end.index} has {end.size} bytes")
        if not job.holds(end.index, job.next_offset, end.size):
            raise RemoteProtocolError(f"FINISH: file {end.index} lacks bytes from {job.next_offset:,} on")
        job.files.put(end.index, FileState.FINISHED)
        job.current = None

    def _drop(self, cost: int) -> None:
        """Bytes of a job that is over: they occupied nothing, so their credit goes back at once."""
        self.connection.store(cost, 0.0, 0.0)
        limit = self.connection.grant()
        if limit is not None:
            self._outbox.control(f.Window(limit))

    # Life ----------------------------------------------------------------------------------------------

    def channel_closed(self, channel: int) -> None:
        """An id is free again; a job that waited for one starts.

        A stream that closes under its job is no end of the job: RESET, or the end of the link, follows on
        its own way. Where neither does, nothing moves any more, and the session's stall timeout ends it.
        """
        job = self.jobs.get(self._channels.pop(channel, None) or 0)
        if job is not None:
            job.has_stream = False
        self._start_queued()

    def lose_all(self, code: int, reason: str, remote: bool) -> None:
        """The link has ended: so has every offer and job."""
        for offer in list(self.offers.values()):
            if offer.is_complete:
                self._outbox.tell(e.OfferWithdrawn(offer.id, code, reason))
        self.offers.clear()
        self._queue.clear()
        for job in list(self.jobs.values()):
            self._end(job, JobState.LOST, code, reason, remote=remote)

    def _share_memory(self) -> None:
        active = [job for job in self.jobs.values() if job.channel is not None]
        if not active:
            return
        limits = self._outbox.limits
        share = min(limits.max_window, max(limits.min_window, self._budget // len(active)))
        for job in active:
            job.window.maximum = max(job.window.size, share)
        # The connection's window holds all jobs' windows: a slow job never takes another one's credit.
        self.connection.size = limits.min_window + sum(job.window.size for job in active)

    def _job(self, job_id: int, frame: type[f.Frame]) -> DownloadJob | None:
        job = self.jobs.get(job_id)
        if job is None or job.channel is None:
            if job is not None or job_id > self._last_job or job_id % 2 != self._outbox.parity:
                raise RemoteProtocolError(f"{frame.WORD}: there is no job {job_id}")
            return None  # it is over; the frame crossed its end
        if (job.state, frame) not in JOB:
            raise RemoteProtocolError(f"{frame.WORD} while the job is {job.state.value}")
        return job

    def _fail_file(self, job: DownloadJob, index: int) -> None:
        job.files.put(index, FileState.FAILED)
        if job.current == index:
            job.current = None
        self._complete_if_done(job)

    def _complete_if_done(self, job: DownloadJob) -> None:
        if job.files.remaining:
            return
        if job.state is JobState.REQUESTED and job.channel is not None:
            # The uploader has not seen all that was wanted: it cannot tell that nothing is left.
            self._outbox.control(f.Stop(job.id, ErrorCode.CANCELLED, "every file was given up"))
        self._end(job, JobState.COMPLETED)

    def _end(
        self, job: DownloadJob, state: JobState, code: int = 0, reason: str = "", *, remote: bool = False
    ) -> None:
        job.state = state
        del self.jobs[job.id]
        job.parked.clear()
        if job.channel is None:
            if job in self._queue:
                self._queue.remove(job)
        else:
            self._unsettled[job.id] = job.window.received
            if job.window.held:
                self._drop(job.window.held)
            if job.has_stream:
                self._channels[job.channel] = None
                self._outbox.act(CloseChannel(job.channel))
        self._share_memory()
        self._outbox.tell(e.JobEnded(job.id, state, code, reason, remote))


def _pieces_of(frame: f.Data | f.Finish) -> Iterable[Piece]:
    return in_order(frame.extents, frame.files) if isinstance(frame, f.Finish) else frame.extents


def _size_of(file: OfferedFile) -> int:
    texts = sum(map(len, file.path)) + len(file.media_type or "") + len(file.target or "")
    return texts + len(file.preview or b"") + len(file.metadata or b"")


def wanted_size(offered: Sequence[OfferedFile], files: f.Ranges) -> int | None:
    """Bytes of the files in ranges; None while one is unknown."""
    return total_size(offered[index].size for index in indexes_of(files))
