"""Sources, sinks, the journal of partial files, safe names."""

from p2pshare.model import Piece
from p2pshare.storage.block_cache import BlockCache
from p2pshare.storage.digests import file_digests
from p2pshare.storage.folder import FolderSink
from p2pshare.storage.installation import installation_secret
from p2pshare.storage.links import check_link, link_refusal
from p2pshare.storage.listing import LeftOut, Listing, list_sources
from p2pshare.storage.memory import MemorySink
from p2pshare.storage.names import LocalNames, UnsafeName, check_wire_path, safe_name, wire_name
from p2pshare.storage.reader import FileFailed, UploadReader
from p2pshare.storage.sink import BaseSink, Sink, Stored
from p2pshare.storage.sources import (
    Source,
    SourceLike,
    StreamSource,
    close_sources,
    from_bytes,
    from_file_object,
    from_stream,
)

__all__ = [
    "BaseSink",
    "BlockCache",
    "FileFailed",
    "FolderSink",
    "LeftOut",
    "Listing",
    "LocalNames",
    "MemorySink",
    "Piece",
    "Sink",
    "Source",
    "SourceLike",
    "Stored",
    "StreamSource",
    "UnsafeName",
    "UploadReader",
    "check_link",
    "check_wire_path",
    "close_sources",
    "file_digests",
    "from_bytes",
    "from_file_object",
    "from_stream",
    "installation_secret",
    "link_refusal",
    "list_sources",
    "safe_name",
    "wire_name",
]
