"""Sources, sinks, the journal of partial files, safe names."""

from p2pshare.model import Piece
from p2pshare.storage.folder import FolderSink
from p2pshare.storage.installation import installation_secret
from p2pshare.storage.listing import list_sources
from p2pshare.storage.memory import MemorySink
from p2pshare.storage.names import LocalNames, UnsafeName, check_wire_path, safe_name, wire_name
from p2pshare.storage.reader import FileFailed, UploadReader, file_digests
from p2pshare.storage.sink import Sink, Stored
from p2pshare.storage.sources import (
    Source,
    SourceLike,
    close_sources,
    from_bytes,
    from_file_object,
    from_stream,
)

__all__ = [
    "FileFailed",
    "FolderSink",
    "LocalNames",
    "MemorySink",
    "Piece",
    "Sink",
    "Source",
    "SourceLike",
    "Stored",
    "UnsafeName",
    "UploadReader",
    "check_wire_path",
    "close_sources",
    "file_digests",
    "from_bytes",
    "from_file_object",
    "from_stream",
    "installation_secret",
    "list_sources",
    "safe_name",
    "wire_name",
]
