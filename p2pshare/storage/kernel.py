"""System calls of Linux that Python does not offer, each behind one probe.

Elsewhere, and on kernels or file systems without them, the functions say so by returning False; what to do
then is their callers' business.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from functools import cache
from typing import Any, Final

_OPENAT2: Final = 437  # on every architecture that p2pshare knows
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_RESOLVE = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_RETRIES = 100
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)

_libc: Any = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def openat2(dir_fd: int, path: str, flags: int) -> int:
    """Open what lies beneath a folder; no component of the path may be a link. Raises OSError."""
    how = _OpenHow(flags | os.O_CLOEXEC, 0, _RESOLVE)
    for _ in range(_RETRIES):
        fd: int = _libc.syscall(
            ctypes.c_long(_OPENAT2),
            ctypes.c_int(dir_fd),
            ctypes.c_char_p(os.fsencode(path)),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        # EAGAIN: something was renamed meanwhile, and the kernel cannot tell whether it is still beneath.
        if fd >= 0 or ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR):
            break
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    return fd


@cache
def has_openat2() -> bool:
    """Whether openat2 works: Linux 5.6 or newer, and no sandbox that forbids it."""
    if _libc is None:
        return False
    try:
        os.close(openat2(_AT_FDCWD, ".", os.O_RDONLY | os.O_DIRECTORY))
    except OSError:
        return False
    return True


def rename_noreplace(dir_fd: int, old: str, new: str) -> bool:
    """Rename within a folder unless the new name is taken; False where that cannot be had.

    Raises:
        FileExistsError: The name is taken.
        OSError: Anything else that went wrong.
    """
    renameat2 = getattr(_libc, "renameat2", None)
    if renameat2 is None:
        return False
    names = os.fsencode(old), os.fsencode(new)
    if renameat2(dir_fd, names[0], dir_fd, names[1], ctypes.c_uint(_RENAME_NOREPLACE)) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), new)


def fallocate(fd: int, size: int) -> bool:
    """Reserve the space of a file; False where the file system cannot.

    Not `os.posix_fallocate`: where the file system cannot, that one writes into every block.
    Raises:
        OSError: No space is left.
    """
    call = getattr(_libc, "fallocate64", None) or getattr(_libc, "fallocate", None)
    if call is None:
        return False
    while call(fd, 0, ctypes.c_int64(0), ctypes.c_int64(size)) != 0:
        number = ctypes.get_errno()
        if number in _UNSUPPORTED:
            return False
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
    return True
