"""Events as JSON, one object a line on standard output: ``--json``.

Every object has ``type``; fields are added over time, never renamed. A field that says nothing is null.
Text is what the peer said, with everything but ASCII escaped; decoded, it is not safe to print.

==========================================================  ==================================================
type                                                        fields
==========================================================  ==================================================
listening                                                   addresses: of the signaling server that runs here
joined                                                      server, room, name
server_lost                                                 server, reason
server_back                                                 server
peer_joined, peer_left, peer_ready                          peer
peer_unresponsive                                           peer, silent_s
link_failed                                                 peer, code, reason
file_offered                                                offer, peer, message, size, files: [{index, path,
                                                            size, kind}]
offer_settled                                               offer, peer, reason: declined, or withdrawn
offering                                                    job, peer: connected, and has not answered yet
upload_started, download_started                            job, peer: once more after an interruption
upload_progress, download_progress                          job, peer, bytes, size, rate (bytes a second),
                                                            seconds_left, files_done, files
upload_paused, upload_resumed, download_paused,             job, peer, remote (the other side's doing)
download_resumed
upload_interrupted, download_interrupted                    job, peer, code, reason, remote, file: the
                                                            connection was lost, and the peer is waited for
already_here                                                job, peer, same, skipped: files not fetched
upload_completed                                            job, peer
download_completed                                          job, peer, paths
upload_failed, upload_cancelled, download_failed,           job, peer, code, reason, remote (the other side's
download_cancelled                                          doing), file (the one to blame)
upload_closed                                               job
measured                                                    peer, direction (to, from), bytes, seconds, cpu_s
                                                            (here), rtt_s, packet_size, packets_sent,
                                                            packets_retransmitted
error                                                       code, reason: also on standard error
ended                                                       exit_code: the last line
==========================================================  ==================================================

Recipients of ``send --to`` that come one after another have a job each. ``link_failed`` is an end that nobody
asked for: a run that goes well has none.
``bytes`` counts what the receiver has written; ``size`` is the whole, null while a length is unknown.
Files that become available or unavailable one by one have no lines: ``file_offered`` lists them.
"""

from __future__ import annotations

import json
from pathlib import Path

from p2pshare import events as ev
from p2pshare.cli.display import Display, write_line
from p2pshare.cli.exit_codes import error_code, reason
from p2pshare.cli.moments import (
    AlreadyHere,
    Ended,
    Failed,
    Joined,
    Listening,
    Measured,
    Offering,
    OfferSettled,
    ServerBack,
    ServerLost,
)
from p2pshare.errors import TransferError
from p2pshare.model import Progress

Fields = dict[str, object]


class JsonLines(Display):
    """Events on standard output; errors on standard error, too."""

    def __init__(self) -> None:
        self._is_read = True

    def tell(self, event: ev.Event) -> None:
        """Write the event's line, if it has one."""
        fields = as_fields(event)
        if fields is not None and self._is_read:
            self._is_read = write_line(json.dumps(fields))

    def result(self, path: Path) -> None:
        """No line: ``download_completed`` has the paths."""


def as_fields(event: ev.Event) -> Fields | None:
    """An event as its line's fields; None for one without a line."""
    match event:
        case Listening(addresses=addresses):
            return {"type": "listening", "addresses": addresses}
        case Joined(server=server, room=room, name=name):
            return {"type": "joined", "server": server, "room": room, "name": name}
        case ServerLost(server=server, reason=why):
            return {"type": "server_lost", "server": server, "reason": why}
        case ServerBack(server=server):
            return {"type": "server_back", "server": server}
        case ev.PeerJoined(peer=peer):
            return {"type": "peer_joined", "peer": peer}
        case ev.PeerLeft(peer=peer):
            return {"type": "peer_left", "peer": peer}
        case ev.PeerReady(peer=peer):
            return {"type": "peer_ready", "peer": peer}
        case ev.PeerUnresponsive(peer=peer, silent_s=silent_s):
            return {"type": "peer_unresponsive", "peer": peer, "silent_s": silent_s}
        case ev.LinkFailed(peer=peer, error=error):
            return {"type": "link_failed", "peer": peer, "code": int(error.code), "reason": str(error)}
        case ev.FileOffered(offer=offer):
            return _offered(offer)
        case OfferSettled(offer_id=offer_id, peer=peer, reason=why):
            return {"type": "offer_settled", "offer": offer_id, "peer": peer, "reason": why}
        case Offering(job_id=job, peer=peer):
            return {"type": "offering", "job": job, "peer": peer}
        case AlreadyHere(job_id=job, peer=peer, same=same, skipped=skipped):
            return {"type": "already_here", "job": job, "peer": peer, "same": same, "skipped": skipped}
        case ev.UploadEvent():
            return _uploaded(event)
        case ev.DownloadEvent():
            return _downloaded(event)
        case ev.UploadClosed(job_id=job):
            return {"type": "upload_closed", "job": job}
        case Measured():
            return _measured(event)
        case Failed(error=failure):
            return {"type": "error", "code": error_code(failure), "reason": reason(failure)}
        case Ended(exit_code=code):
            return {"type": "ended", "exit_code": code}
    return None


def _measured(event: Measured) -> Fields:
    association = event.path.association if event.path is not None else None
    return {
        "type": "measured",
        "peer": event.peer,
        "direction": "to" if event.is_upload else "from",
        "bytes": event.size,
        "seconds": event.seconds,
        "cpu_s": event.cpu_s,
        "rtt_s": association.rtt_s if association is not None else None,
        "packet_size": association.packet_size if association is not None else None,
        "packets_sent": association.packets_sent if association is not None else None,
        "packets_retransmitted": association.packets_retransmitted if association is not None else None,
    }


def _offered(offer: ev.Offer) -> Fields:
    files = [
        {
            "index": each.file.index,
            "path": each.path,
            "size": each.size,
            "kind": each.file.kind.value,
        }
        for each in offer.files
    ]
    return {
        "type": "file_offered",
        "offer": offer.id,
        "peer": offer.peer,
        "message": offer.message,
        "size": offer.size,
        "files": files,
    }


def _uploaded(event: ev.UploadEvent) -> Fields | None:
    match event:
        case ev.UploadStarted():
            return _of_job("upload_started", event)
        case ev.UploadProgress(progress=progress):
            return _of_job("upload_progress", event) | _progress(progress)
        case ev.UploadPaused(remote=remote):
            return _of_job("upload_paused", event) | {"remote": remote}
        case ev.UploadResumed(remote=remote):
            return _of_job("upload_resumed", event) | {"remote": remote}
        case ev.UploadInterrupted(error=error):
            return _of_job("upload_interrupted", event) | _failure(error)
        case ev.UploadCompleted():
            return _of_job("upload_completed", event)
        case ev.UploadFailed(error=error):
            return _of_job("upload_failed", event) | _failure(error)
        case ev.UploadCancelled(error=error):
            return _of_job("upload_cancelled", event) | _failure(error)
    return None


def _downloaded(event: ev.DownloadEvent) -> Fields | None:
    match event:
        case ev.DownloadStarted():
            return _of_job("download_started", event)
        case ev.DownloadProgress(progress=progress):
            return _of_job("download_progress", event) | _progress(progress)
        case ev.DownloadPaused(remote=remote):
            return _of_job("download_paused", event) | {"remote": remote}
        case ev.DownloadResumed(remote=remote):
            return _of_job("download_resumed", event) | {"remote": remote}
        case ev.DownloadInterrupted(error=error):
            return _of_job("download_interrupted", event) | _failure(error)
        case ev.DownloadCompleted(paths=paths):
            return _of_job("download_completed", event) | {
                "paths": [str(path) for _, path in sorted(paths.items())]
            }
        case ev.DownloadFailed(error=error):
            return _of_job("download_failed", event) | _failure(error)
        case ev.DownloadCancelled(error=error):
            return _of_job("download_cancelled", event) | _failure(error)
    return None


def _of_job(kind: str, event: ev.UploadEvent | ev.DownloadEvent) -> Fields:
    return {"type": kind, "job": event.job_id, "peer": event.peer}


def _progress(progress: Progress) -> Fields:
    return {
        "bytes": progress.stored,
        "size": progress.size,
        "rate": round(progress.rate),
        "seconds_left": progress.seconds_left,
        "files_done": progress.files_done,
        "files": progress.files,
    }


def _failure(error: TransferError) -> Fields:
    return {"code": int(error.code), "reason": str(error), "remote": error.remote, "file": error.file}
