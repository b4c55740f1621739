"""The uploader's side of a link: what is offered, and the jobs that its acceptance made."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from p2pshare.errors import FileTooLarge, LocalProtocolError, RemoteProtocolError, TransferError
from p2pshare.model import BLOCK_SIZE, ErrorCode, FileEnd, HeldBlocks, OfferedFile, Piece
from p2pshare.protocol import events as e
from p2pshare.protocol import frames as f
from p2pshare.protocol.codec import encode
from p2pshare.protocol.outbox import FIRST_STREAM, LAST_STREAM, CloseChannel, OpenChannel, Outbox, SendMessage
from p2pshare.protocol.paging import FRAME_OVERHEAD, end_pages, file_pages, take_frame
from p2pshare.protocol.ranges import FileState, JobFiles, indexes_of
from p2pshare.protocol.schema import MAX_TEXT
from p2pshare.protocol.states import JOB, JobState
from p2pshare.protocol.window import SendWindow

MAX_QUERIES = 16
"""HAVE? frames that a peer may have unanswered."""


@dataclass(slots=True)
class _Query:
    """A HAVE? whose pages are coming in, or that is being answered."""

    offer: int
    files: list[int] = field(default_factory=list)
    is_complete: bool = False


@dataclass(slots=True)
class UploadJob:
    """One accepted download, at its uploader."""

    id: int
    offer: int
    channel: int
    files: JobFiles
    window: SendWindow
    state: JobState
    held: list[HeldBlocks] = field(default_factory=list)
    wanted_to: int = -1
    "The last file that ACCEPT and RANGES have named."
    is_open: bool = False
    "Whether our end of the stream exists."
    paused_here: bool = False
    paused_there: bool = False
    sent: int = 0
    "Bytes of files that have been sent."
    stored: int = 0

    @property
    def is_paused(self) -> bool:
        """Whether either side pauses the job."""
        return self.paused_here or self.paused_there


class Uploads:
    """All offers and jobs of which this side is the uploader."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.connection = SendWindow()
        self.peer_max_file_size = 0
        self.peer_max_files = 0
        self.jobs: dict[int, UploadJob] = {}
        self._offers: dict[int, tuple[OfferedFile, ...]] = {}
        self._last_offer = 0
        self._last_job = 0
        self._channels: dict[int, int | None] = {}  # channel -> job; None: closing
        self._waiting: dict[int, UploadJob | None] = {}  # channels to open when free; None: only to reset
        self._queries: dict[int, _Query] = {}

    # Commands ------------------------------------------------------------------------------------------

    def offer(
        self,
        offer: int,
        files: Sequence[OfferedFile],
        message: str | None = None,
        key: bytes | None = None,
    ) -> None:
        """Offer files; ``offer`` is a number above all earlier ones, ``key`` names it on later links too.

        Raises:
            FileTooLarge: The peer said in HELLO that it does not take files of this size.
            TransferError: More files than the peer takes.
        """
        if offer <= self._last_offer or not files:
            raise LocalProtocolError(f"offer {offer} after {self._last_offer}, with {len(files)} files")
        if message is not None and len(message.encode()) > MAX_TEXT:
            raise LocalProtocolError(f"a message of more than {MAX_TEXT:,} bytes")
        if len(files) > self.peer_max_files:
            raise TransferError(
                f"{len(files):,} files, the peer takes {self.peer_max_files:,}", code=ErrorCode.DECLINED
            )
        for file in files:
            if file.size is not None and file.size > self.peer_max_file_size:
                raise FileTooLarge(
                    size=file.size, limit=self.peer_max_file_size, file="/".join(file.path), remote=True
                )
        self._last_offer = offer
        self._offers[offer] = tuple(files)
        self._outbox.pages(self._offer_pages(offer, files, message, key), lambda: offer in self._offers)

    def _offer_pages(
        self, offer: int, files: Sequence[OfferedFile], message: str | None, key: bytes | None
    ) -> Iterator[f.OfferFrame | f.Files]:
        text = len((message or "").encode()) + len(key or b"")
        pages = file_pages(files, self._outbox.max_frame, FRAME_OVERHEAD + text)
        yield f.OfferFrame(offer, len(files), next(pages), message, key=key)
        for page in pages:
            yield f.Files(offer, page)

    def withdraw(self, offer: int, code: int, reason: str = "") -> None:
        """Take an offer back; idempotent. Jobs that run go on."""
        if self._offers.pop(offer, None) is not None:
            self._outbox.control(f.Withdraw(offer, code, reason))

    def is_offered(self, offer: int) -> bool:
        """Whether an offer is good: made, and neither withdrawn nor declined."""
        return offer in self._offers

    def credit(self, job_id: int) -> int:
        """Bytes of messages that may be sent on a job's stream now; 0 while paused, and once it is over."""
        job = self.jobs.get(job_id)
        if job is None or job.state is not JobState.RUNNING or job.is_paused or not job.is_open:
            return 0
        return min(job.window.credit, self.connection.credit)

    def send(self, job_id: int, pieces: deque[Piece]) -> int:
        """Send one frame with as many of the pieces as it holds, taken from the left.

        Pieces of files that were given up are taken and left out. Returns the bytes of files in the frame;
        -1 when nothing was sent, because there is nothing or the credit does not allow the next piece.
        """
        job = self.jobs.get(job_id)
        if job is None:
            return -1
        while pieces and job.files[pieces[0].index] is FileState.FAILED:
            pieces.popleft()
        budget = min(self.credit(job_id), self._outbox.max_frame)
        extents, ends = take_frame(pieces, budget)
        if not extents and not ends:
            return -1
        extents = [extent for extent in extents if job.files[extent.index] is not FileState.FAILED]
        ends = [end for end in ends if job.files[end.index] is not FileState.FAILED]
        if not extents and not ends:
            return 0
        for extent in extents:
            job.files.put(extent.index, FileState.STARTED)
        for end in ends:
            job.files.put(end.index, FileState.FINISHED)
        frame = f.Finish(job_id, tuple(ends), tuple(extents)) if ends else f.Data(job_id, tuple(extents))
        message = encode(frame)
        job.window.spend(len(message))
        self.connection.spend(len(message))
        size = sum(len(extent.payload) for extent in extents)
        job.sent += size
        self._outbox.act(SendMessage(job.channel, message))
        return size

    def give_up_file(self, job_id: int, index: int, code: int, reason: str = "") -> None:
        """RESET one file that is not finished; the job goes on, and completes with the others."""
        job = self.jobs.get(job_id)
        if job is None or job.files[index] not in (FileState.WANTED, FileState.STARTED):
            return
        self._outbox.control(f.Reset(job_id, code, reason, index))
        job.files.put(index, FileState.FAILED)
        self._complete_if_done(job)

    def reset(self, job_id: int, code: int, reason: str = "") -> None:
        """Give up a job; idempotent."""
        job = self.jobs.get(job_id)
        if job is not None:
            self._outbox.control(f.Reset(job_id, code, reason))
            self._end(job, JobState.RESET, code, reason)

    def pause(self, job_id: int) -> None:
        """Pause a job from this side; idempotent."""
        job = self.jobs.get(job_id)
        if job is not None and not job.paused_here:
            job.paused_here = True
            self._outbox.control(f.Pause(job_id))

    def resume(self, job_id: int) -> None:
        """Undo pause()."""
        job = self.jobs.get(job_id)
        if job is not None and job.paused_here:
            job.paused_here = False
            self._outbox.control(f.Resume(job_id))

    def answer_have(self, offer: int, query: int, ends: Sequence[FileEnd]) -> None:
        """Answer HAVE? with the digests of the files that could be read."""
        self._queries.pop(query, None)
        pages = list(end_pages(ends, self._outbox.max_frame)) or [()]
        frames = (f.Have(offer, query, page, at + 1 < len(pages)) for at, page in enumerate(pages))
        self._outbox.pages(frames, lambda: True)

    # Frames --------------------------------------------------------------------------------------------

    def accept_received(self, frame: f.Accept) -> None:
        """ACCEPT: a job begins, or is reset at once where its offer is gone."""
        peer_parity = 1 - self._outbox.parity
        if frame.job % 2 != peer_parity or frame.job <= self._last_job:
            raise RemoteProtocolError(f"ACCEPT: the job id {frame.job} is not the peer's next")
        if not FIRST_STREAM <= frame.channel <= LAST_STREAM or frame.channel % 2 != peer_parity:
            raise RemoteProtocolError(f"ACCEPT: the channel {frame.channel} is not the peer's to choose")
        if self._channels.get(frame.channel) is not None or frame.channel in self._waiting:
            raise RemoteProtocolError(f"ACCEPT: the channel {frame.channel} is in use")
        if frame.offer > self._last_offer:
            raise RemoteProtocolError(f"ACCEPT: there is no offer {frame.offer}")
        self._last_job = frame.job
        files = self._offers.get(frame.offer, ())
        job = UploadJob(
            frame.job,
            frame.offer,
            frame.channel,
            JobFiles(len(files)),
            SendWindow(frame.limit),
            JobState.REQUESTED,
        )
        self.jobs[frame.job] = job
        self.connection.raise_to(frame.connection_limit)
        self._open_channel(job)
        if not files:
            self._outbox.answer(f.Reset(job.id, ErrorCode.DOWNLOAD_NOT_AVAILABLE, "no longer offered"))
            self._end(job, JobState.RESET)
            return
        self._want(job, frame.files, frame.held, frame.more)

    def ranges_received(self, frame: f.RangesFrame) -> None:
        """RANGES: more of what an ACCEPT wants and holds."""
        job = self._job(frame.job, f.RangesFrame)
        if job is not None:
            self._want(job, frame.files, frame.held, frame.more)

    def _want(self, job: UploadJob, files: f.Ranges, held: tuple[HeldBlocks, ...], more: bool) -> None:
        offered = self._offers.get(job.offer)
        if offered is None:  # withdrawn while the pages came
            self.reset(job.id, ErrorCode.DOWNLOAD_NOT_AVAILABLE, "no longer offered")
            return
        if files and job.wanted_to >= files[0][0]:
            raise RemoteProtocolError(f"RANGES: file {files[0][0]} after {job.wanted_to}")
        for first, last in files:
            job.wanted_to = last
            try:
                job.files.want(first, last)
            except IndexError:
                raise RemoteProtocolError(f"ACCEPT: the offer has no file {last}") from None
        for blocks in held:
            last_held = job.held[-1] if job.held else None
            if last_held is not None and (blocks.index, blocks.first_block) <= (
                last_held.index,
                last_held.first_block + len(last_held.digests) - 1,
            ):
                raise RemoteProtocolError(f"ACCEPT: holds blocks of file {blocks.index} twice")
            size = offered[blocks.index].size if blocks.index < len(offered) else None
            if size is None or (blocks.first_block + len(blocks.digests) - 1) * BLOCK_SIZE >= size:
                raise RemoteProtocolError(f"ACCEPT: holds blocks that file {blocks.index} does not have")
            job.held.append(blocks)
        if more:
            return
        if not job.files.remaining:
            raise RemoteProtocolError("ACCEPT: wants no file")
        job.state = JobState.RUNNING
        self._outbox.tell(e.JobRequested(job.id, job.offer, tuple(job.files.wanted()), tuple(job.held)))
        job.held.clear()
        if job.paused_there:
            self._outbox.tell(e.JobPaused(job.id))

    def decline_received(self, frame: f.Decline) -> None:
        """DECLINE: the offer is closed for this peer."""
        if frame.offer > self._last_offer:
            raise RemoteProtocolError(f"DECLINE: there is no offer {frame.offer}")
        files = self._offers.get(frame.offer)
        if files is None:
            return
        if frame.files:
            self._check_offered(frame.files, files, frame.WORD)
        else:
            del self._offers[frame.offer]
        self._outbox.tell(e.OfferDeclinedByPeer(frame.offer, frame.code, frame.reason, frame.files))

    def kept_received(self, frame: f.Kept) -> None:
        """KEPT: the downloader has files already."""
        if frame.offer > self._last_offer:
            raise RemoteProtocolError(f"KEPT: there is no offer {frame.offer}")
        files = self._offers.get(frame.offer)
        if files is not None:
            self._check_offered(frame.files, files, frame.WORD)
            self._outbox.tell(e.FilesKept(frame.offer, frame.files))

    @staticmethod
    def _check_offered(named: f.Ranges, files: Sequence[OfferedFile], word: str) -> None:
        if named and named[-1][1] >= len(files):
            raise RemoteProtocolError(f"{word}: the offer has no file {named[-1][1]}")

    def have_asked(self, frame: f.HaveQuery) -> None:
        """HAVE?: the session hashes and calls answer_have()."""
        if frame.offer > self._last_offer:
            raise RemoteProtocolError(f"HAVE?: there is no offer {frame.offer}")
        query = self._queries.setdefault(frame.query, _Query(frame.offer))
        if len(self._queries) > MAX_QUERIES or query.is_complete:
            raise RemoteProtocolError("HAVE?: too many at once")
        if query.offer != frame.offer:
            raise RemoteProtocolError(f"HAVE?: query {frame.query} is about offer {query.offer}")
        asked = query.files
        files = self._offers.get(frame.offer)
        if files is not None:
            if frame.files and frame.files[-1][1] >= len(files):
                raise RemoteProtocolError(f"HAVE?: the offer has no file {frame.files[-1][1]}")
            if asked and frame.files and frame.files[0][0] <= asked[-1]:
                raise RemoteProtocolError(f"HAVE?: file {frame.files[0][0]} twice")
            asked.extend(indexes_of(frame.files))
        if frame.more:
            return
        if files is None:
            del self._queries[frame.query]
            self._outbox.answer(f.Have(frame.offer, frame.query, ()))
            return
        query.is_complete = True
        self._outbox.tell(e.HaveAsked(frame.offer, frame.query, tuple(asked)))

    def window_received(self, frame: f.Window) -> None:
        """WINDOW: more credit."""
        self.connection.raise_to(frame.connection_limit)
        if frame.job is None:
            self._outbox.tell(e.CreditRaised(None, 0))
            return
        job = self._job(frame.job, f.Window)
        if job is None:
            return
        if frame.stored > job.sent:
            raise RemoteProtocolError(f"WINDOW: {frame.stored} bytes stored of {job.sent} sent")
        job.window.raise_to(frame.limit)
        job.stored = max(job.stored, frame.stored)
        if job.state is JobState.RUNNING:
            self._outbox.tell(e.CreditRaised(job.id, job.stored))

    def confirm_received(self, frame: f.Confirm) -> None:
        """CONFIRM: files are in place."""
        job = self._job(frame.job, f.Confirm)
        if job is None:
            return
        for first, last in frame.files:
            if last >= len(job.files):
                raise RemoteProtocolError(f"CONFIRM: the job has no file {last}")
            for index in range(first, last + 1):
                if job.files[index] is not FileState.FINISHED:
                    raise RemoteProtocolError(f"CONFIRM: file {index} is {job.files[index].name.lower()}")
                job.files.put(index, FileState.CONFIRMED)
        self._outbox.tell(e.FilesConfirmed(job.id, frame.files))
        self._complete_if_done(job)

    def stop_received(self, frame: f.Stop) -> None:
        """STOP: the downloader gives up a file, or the job."""
        job = self._job(frame.job, f.Stop)
        if job is None:
            return
        if frame.file is None:
            self._end(job, JobState.STOPPED, frame.code, frame.reason, remote=True)
            return
        # While RANGES are to come, a file may be given up before the page that wants it is here.
        is_early = job.state is JobState.REQUESTED
        if frame.file >= len(job.files) or (job.files[frame.file] is FileState.UNWANTED and not is_early):
            raise RemoteProtocolError(f"STOP: the job has no file {frame.file}")
        if job.files[frame.file] in (FileState.CONFIRMED, FileState.FAILED):
            return
        job.files.put(frame.file, FileState.FAILED)
        if not is_early:
            self._outbox.tell(e.FileGivenUp(job.id, frame.file, frame.code, frame.reason))
        self._complete_if_done(job)

    def pause_received(self, frame: f.Pause | f.Resume) -> None:
        """PAUSE or RESUME by the downloader."""
        job = self._job(frame.job, type(frame))
        if job is not None:
            job.paused_there = isinstance(frame, f.Pause)
        if job is not None and job.state is JobState.RUNNING:
            self._outbox.tell(e.JobPaused(job.id) if job.paused_there else e.JobResumed(job.id))

    # Life ----------------------------------------------------------------------------------------------

    def channel_closed(self, channel: int) -> None:
        """An id is free again; a job that waited for it opens its end.

        A stream that closes under its job is no end of the job: STOP, CONFIRM, or the end of the link,
        follows on its own way. Where none does, the session's stall timeout ends it.
        """
        job_id = self._channels.pop(channel, None)
        if job_id is not None and job_id in self.jobs:
            self.jobs[job_id].is_open = False
        if channel not in self._waiting:
            return
        waiting = self._waiting.pop(channel)
        if waiting is not None:
            self._open_channel(waiting)
            if waiting.state is JobState.RUNNING:
                self._outbox.tell(e.CreditRaised(waiting.id, waiting.stored))
        else:
            self._channels[channel] = None
            self._outbox.act(OpenChannel(channel))
            self._outbox.act(CloseChannel(channel))

    def lose_all(self, code: int, reason: str, remote: bool) -> None:
        """The link has ended: so has every job."""
        self._offers.clear()
        self.peer_max_files = 0
        for job in list(self.jobs.values()):
            self._end(job, JobState.LOST, code, reason, remote=remote)

    def _open_channel(self, job: UploadJob) -> None:
        if job.channel in self._channels:  # the last job's close has not come through yet
            self._waiting[job.channel] = job
            return
        self._channels[job.channel] = job.id
        job.is_open = True
        self._outbox.act(OpenChannel(job.channel))

    def _job(self, job_id: int, frame: type[f.Frame]) -> UploadJob | None:
        job = self.jobs.get(job_id)
        if job is None:
            if job_id > self._last_job or job_id % 2 == self._outbox.parity:
                raise RemoteProtocolError(f"{frame.WORD}: there is no job {job_id}")
            return None  # it is over; the frame crossed its end
        if (job.state, frame) not in JOB:
            raise RemoteProtocolError(f"{frame.WORD} while the job is {job.state.value}")
        return job

    def _complete_if_done(self, job: UploadJob) -> None:
        if job.state is JobState.RUNNING and not job.files.remaining:
            self._end(job, JobState.COMPLETED)

    def _end(
        self, job: UploadJob, state: JobState, code: int = 0, reason: str = "", *, remote: bool = False
    ) -> None:
        is_known = job.state is JobState.RUNNING
        job.state = state
        del self.jobs[job.id]
        self._outbox.control(f.Ended(job.id, job.window.used))
        if job.is_open:
            self._channels[job.channel] = None
            self._outbox.act(CloseChannel(job.channel))
        elif self._waiting.get(job.channel) is job:
            # Our end was never made: it will be, only to be reset, or the peer's end would close for ever.
            self._waiting[job.channel] = None
        if is_known:
            self._outbox.tell(e.JobEnded(job.id, state, code, reason, remote))
