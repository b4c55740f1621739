"""How the command puts numbers and events into words. Pure.

What a peer said passes `show()` here, whichever display prints it.
"""

from __future__ import annotations

from p2pshare import events as ev
from p2pshare.cli.moments import AlreadyHere, Joined, Listening, Measured, ServerBack, ServerLost
from p2pshare.errors import show
from p2pshare.model import Progress

_BUSY = 0.85
_LOSSY = 0.001
_UNITS = ("kB", "MB", "GB", "TB", "PB")


def size(count: float | None) -> str:
    """Bytes in decimal units: ``12.3 MB``."""
    if count is None:
        return "unknown size"
    if count < 1000:
        return f"{count:.0f} B"
    for unit in _UNITS:
        count /= 1000
        if count < 999.95 or unit == _UNITS[-1]:
            break
    return f"{count:.1f} {unit}"


def rate(bytes_per_s: float) -> str:
    """Speed: ``12.3 MB/s``."""
    return f"{size(bytes_per_s)}/s"


def duration(seconds: float | None) -> str:
    """Time: ``0:42``, ``1:02:03``; ``-:--`` where nothing can be said."""
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def files(count: int, empty_folders: int = 0) -> str:
    """``1 file``, ``2 files``, ``10 files and 1 empty folder``."""
    told = f"{count:,} file" if count == 1 else f"{count:,} files"
    if not empty_folders:
        return told
    folders = f"{empty_folders:,} empty folder" + "s" * (empty_folders != 1)
    return f"{told} and {folders}" if count else folders


def amount(progress: Progress) -> str:
    """How much of how much: ``1.2 of 3.4 MB``, with the unit once where it is the same."""
    if progress.size is None:
        return size(progress.stored)
    done, whole = size(progress.stored), size(progress.size)
    number, _, unit = done.partition(" ")
    return f"{number} of {whole}" if whole.endswith(f" {unit}") else f"{done} of {whole}"


def percent(progress: Progress) -> int | None:
    """How much is there, in percent: 100 once every file is confirmed; None while the size is unknown."""
    if not progress.size:
        return None
    share = 100 * progress.stored // progress.size
    return min(share, 99) if progress.files_done < progress.files else share


def files_done(progress: Progress) -> str:
    """Files in place, of all: ``3/12 files``."""
    return f"{progress.files_done:,}/{files(progress.files)}"


def outcome(progress: Progress | None, elapsed_s: float, held: int = 0) -> str:
    """What arrived, how long it took and how fast it was; ``took 2 of 11 files`` where not all was wanted.

    ``held`` bytes were there at the start: they are part of what arrived, and of no speed.
    """
    if progress is None:
        return "nothing to do"
    speed = f", {rate((progress.stored - held) / elapsed_s)}" if elapsed_s >= 0.1 else ""
    told = files(progress.files_done)
    if progress.files_done < progress.files:
        told = f"took {progress.files_done:,} of {files(progress.files)}"
    return f"{told}, {size(progress.stored)} in {elapsed_s:.1f} s{speed}"


def already_here(event: AlreadyHere) -> str:
    """What is not fetched, and why: ``2 files already here, 1 file skipped``."""
    told = [f"{files(event.same)} already here"] if event.same else []
    if event.skipped:
        told.append(f"{files(event.skipped)} skipped, as something of that name is here")
    return f"from {show(event.peer)}: {', '.join(told)}"


def measured(event: Measured) -> str:
    """What a path gave, and what held it back."""
    way = "to" if event.is_upload else "from"
    cores = event.cpu_s / event.seconds if event.seconds > 0 else 0.0
    lines = [
        f"{way} {show(event.peer)}: {rate(event.size / event.seconds)} "
        f"({size(event.size)} in {event.seconds:.2f} s), CPU here {cores:.0%} of a core"
    ]
    path, association = event.path, event.path.association if event.path is not None else None
    if path is None or association is None:
        lines.append("  data path: aiortc's own, which one core of Python limits")
        return "\n".join(lines)
    again = association.chunks_retransmitted / max(1, association.packets_sent)
    rtt = f"RTT {association.rtt_s * 1e3:.1f} ms, " if association.rtt_s is not None else ""
    batches = "in trains" if path.segments else "one by one"
    lines.append(
        f"  path: {'relayed, ' if path.is_relayed else ''}{rtt}packets of {association.packet_size:,} bytes "
        f"sent {batches}, {again:.1%} sent again"
    )
    if cores > _BUSY:
        lines.append("  limit: the CPU of this machine")
    elif event.is_upload and association.timeouts + association.loss_events > 0 and again > _LOSSY:
        lines.append("  limit: loss on the path")
    else:
        lines.append("  limit: the path, or the other machine (its own figures say which)")
    return "\n".join(lines)


def line(event: ev.Event) -> str | None:
    """What a person should read at this event; None for what the bars show, or nobody needs.

    Failures have no line: the command ends with their sentence.
    """
    match event:
        case Listening(addresses=addresses):
            return f"signaling server on {', '.join(addresses)}"
        case Joined(name=name, room=room):
            return f"in room {show(room)} as {show(name)}"
        case ServerLost(server=server):
            return f"the signaling server {server} is gone: what runs goes on, and it is waited for"
        case ServerBack(server=server):
            return f"the signaling server {server} is back"
        case AlreadyHere():
            return already_here(event)
        case Measured():
            return measured(event)
        case ev.PeerUnresponsive(peer=peer, silent_s=silent_s):
            return f"{show(peer)} has been silent for {silent_s:.0f} s, waiting"
    return None
