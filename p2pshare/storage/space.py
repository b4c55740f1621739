"""Whether a disk has room: before the first byte where sizes are known, before each write where not."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from p2pshare.errors import SaveFailed


def check_space(folder: Path, needed: int, reserve: int) -> None:
    """Raise SaveFailed, with the numbers, unless the disk keeps its reserve: 1 % of it, or so many bytes."""
    disk = shutil.disk_usage(folder)
    reserve = max(disk.total // 100, reserve)
    if disk.free < needed + reserve:
        cause = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise SaveFailed(
            f"{needed:,} bytes are needed and {reserve:,} are to stay free, the disk has {disk.free:,}"
        ) from cause
