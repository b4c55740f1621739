"""Names of files from a peer, and of this disk: refused, or safe to write on every platform.

The first byte says which platform's names they are; slashes divide a path, line ends the paths of one offer.
"""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.target import Target
from p2pshare.storage.names import (
    JOURNAL_SUFFIX,
    MAX_NAME_BYTES,
    PART_SUFFIX,
    LocalNames,
    UnsafeName,
    check_wire_path,
    folded,
    safe_name,
    wire_name,
)

_FORBIDDEN = frozenset('/\\\0<>:"|?*\u202e\u200b')


def run(source: bytes) -> None:
    """Take the names as a peer's, and as a disk's."""
    if source[:1] < b"\x80":
        text = source[1:].decode(errors="surrogateescape")  # as os.fsdecode() gives them
    else:
        whole = source[1 : 1 + (len(source) - 1 & ~1)]
        text = whole.decode("utf-16-le", errors="surrogatepass")  # as Windows has them
    local = LocalNames(keep_hidden=source[:1] > b"\x40")
    taken: set[tuple[str, ...]] = set()
    for line in text.split("\n")[:50]:
        path = tuple(line.split("/"))
        for name in path:
            check_wire_path((wire_name(name),))
        try:
            check_wire_path(path)
        except UnsafeName as refusal:
            assert str(refusal).isprintable()
            continue
        _check_local(path, local.add(path), taken)


def _check_local(path: tuple[str, ...], local: tuple[str, ...], taken: set[tuple[str, ...]]) -> None:
    assert len(local) == len(path)
    for name in local:
        assert name
        assert name not in (".", "..")
        assert _FORBIDDEN.isdisjoint(name)
        assert name == name.rstrip(". ")
        assert len(name.encode()) <= MAX_NAME_BYTES
        assert not name.endswith((PART_SUFFIX, JOURNAL_SUFFIX))
        assert safe_name(name) == name, "what is safe stays as it is"
    key = tuple(map(folded, local))
    assert key not in taken, "two files of one name"
    taken.add(key)


def seeds() -> Iterator[bytes]:
    """Names that mean something somewhere."""
    paths = [
        "a/b/c.txt\na/B/c.txt\nA/b/C.TXT",
        "con\nAUX.tar.gz\nlpt1 .x\n.hidden/.x",
        "../../etc/passwd\n/root\nC:x\n\\\\server\\share",
        "e\u0301.txt\n\u00e9.txt\nx\u202egpj.exe\n\u3164",
        "x" * 255 + "\n" + "\u00fc" * 127 + ".tar.gz",
        "trailing. . \nname.p2pshare-part\n~$doc",
    ]
    for platform in (b"\0", b"\x50"):
        for path in paths:
            yield platform + path.encode()
    yield b"\0bad \xff bytes/\xc3\x28"
    yield b"\x80" + "\ud83d half".encode("utf-16-le", errors="surrogatepass")


TARGET = Target(run, seeds, 2_000)
