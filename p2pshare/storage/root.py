"""The folder that a download goes into, before anything goes into it."""

from __future__ import annotations

import os
from pathlib import Path

from p2pshare.errors import StorageAccessDenied
from p2pshare.storage.beneath import sync_folder


def refuse_home(folder: Path) -> None:
    """Raise StorageAccessDenied for the home folder: no peer's file lands where programs start from."""
    try:
        is_home = os.path.samefile(folder, os.path.expanduser("~"))
    except OSError:  # one of them is not there
        return
    if is_home:
        raise StorageAccessDenied("files are not received into the home folder itself: choose one below it")


def check_writable(folder: Path) -> None:
    """Raise StorageAccessDenied where no file can be made in it."""
    may = os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)
    if not may:
        raise StorageAccessDenied("the folder may not be written to", file=str(folder))


def make_folders(folder: Path) -> list[Path]:
    """Make a folder and those above it; returns what was made. Raises OSError."""
    missing: list[Path] = []
    path = folder
    while not path.exists():
        missing.append(path)
        path = path.parent
    missing.reverse()
    folder.mkdir(parents=True, exist_ok=True)
    if os.name == "posix":
        for made in missing:
            sync_folder(made.parent)
    return missing
