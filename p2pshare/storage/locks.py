"""One job at a part file: a lock on the open file, which ends with its process, however that ends."""

from __future__ import annotations

import sys

if sys.platform == "win32":

    def lock(fd: int) -> bool:
        """Windows does not let go of a file that is open elsewhere: its name cannot be had twice anyway."""
        return True

else:
    import fcntl

    def lock(fd: int) -> bool:
        """Whether the file is ours now; False where another job has it."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks: as good as alone
            return True
        return True
