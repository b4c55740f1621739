"""Status files: what running commands show to other terminals of their user.

One file a process, in the user's runtime folder, which nobody else can look into. It is replaced whole, and
removed at the end; one that a killed process left is removed by who finds it. Loads no WebRTC.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import platformdirs

_MAX_SIZE: Final = 1 << 20
SUFFIX: Final = ".json"
_DRAFT: Final = ".new"

Fields = Mapping[str, Any]


def replace(path: Path, fields: Fields) -> None:
    """Write a file whole or not at all. Raises OSError."""
    draft = path.with_suffix(_DRAFT)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0), 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as opened:
        opened.write(json.dumps(fields))
    os.replace(draft, path)


def processes() -> list[Fields]:
    """What every running command of this user shows, the oldest first; what dead ones left is removed."""
    folder = status_folder(make=False)
    if folder is None:
        return []
    found: list[Fields] = []
    for path in folder.glob(f"*{SUFFIX}"):
        fields = _read(path)
        if fields is not None and _is_alive(fields):
            found.append(fields)
        elif fields is not None or path.stem.isdigit():
            with contextlib.suppress(OSError):
                path.unlink()
    for draft in folder.glob(f"*{_DRAFT}"):
        if not (draft.stem.isdigit() and _runs(int(draft.stem))):
            with contextlib.suppress(OSError):
                draft.unlink()
    return sorted(found, key=lambda fields: float(fields["since"]))


def _read(path: Path) -> Fields | None:
    try:
        with path.open(encoding="utf-8") as opened:
            fields = json.loads(opened.read(_MAX_SIZE))
    except (OSError, ValueError):
        return None
    is_whole = isinstance(fields, dict) and {"pid", "started", "since", "jobs"} <= fields.keys()
    return fields if is_whole else None


def _is_alive(fields: Fields) -> bool:
    """Whether the process runs still, and is not another one with its number."""
    pid = int(fields["pid"])
    return _runs(pid) and bool(start_of(pid) == fields["started"])


def _runs(pid: int) -> bool:
    if sys.platform == "win32":
        return _runs_on_windows(pid)
    try:
        os.kill(pid, 0)
    except (OSError, OverflowError):
        return False
    return True


def _runs_on_windows(pid: int) -> bool:
    import ctypes

    kernel: Any = getattr(ctypes, "windll").kernel32  # noqa: B009  (no attribute of it elsewhere)
    handle = kernel.OpenProcess(0x1000, False, pid)  # PROCESS_QUERY_LIMITED_INFORMATION
    if handle:
        kernel.CloseHandle(handle)
    return bool(handle)


def start_of(pid: int) -> str | None:
    """When a process was started, in whatever unit; None where the system does not tell."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = told.rpartition(")")[2].split()  # the name before it may hold anything
    return fields[19] if len(fields) > 19 else None


def status_folder(*, make: bool) -> Path | None:
    """The folder of the files; None where there is none that is ours alone."""
    try:
        with warnings.catch_warnings(
            action="ignore"
        ):  # of where it is instead, when the usual place is not safe
            folder = platformdirs.user_runtime_path("p2pshare")
        if make:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found, holder = folder.lstat(), folder.parent.lstat().st_uid
    except OSError:
        return None
    if not stat.S_ISDIR(found.st_mode):
        return None
    if hasattr(os, "getuid") and (
        found.st_uid != os.getuid() or found.st_mode & 0o077 or holder not in (0, os.getuid())
    ):
        return None
    return folder
