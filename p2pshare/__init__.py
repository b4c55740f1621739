"""Peer-to-peer file sharing over WebRTC data channels.

Public names load on first use (PEP 562): ``import p2pshare`` alone loads no WebRTC stack.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from p2pshare.errors import ConnectionLost as ConnectionLost
    from p2pshare.errors import DownloadError as DownloadError
    from p2pshare.errors import DownloadNotAvailable as DownloadNotAvailable
    from p2pshare.errors import FileTooLarge as FileTooLarge
    from p2pshare.errors import IntegrityError as IntegrityError
    from p2pshare.errors import LocalProtocolError as LocalProtocolError
    from p2pshare.errors import OfferDeclined as OfferDeclined
    from p2pshare.errors import P2PShareError as P2PShareError
    from p2pshare.errors import ProtocolError as ProtocolError
    from p2pshare.errors import RemoteProtocolError as RemoteProtocolError
    from p2pshare.errors import SaveFailed as SaveFailed
    from p2pshare.errors import SharingNotAvailable as SharingNotAvailable
    from p2pshare.errors import SignalingFailed as SignalingFailed
    from p2pshare.errors import StorageAccessDenied as StorageAccessDenied
    from p2pshare.errors import TransferCancelled as TransferCancelled
    from p2pshare.errors import TransferError as TransferError
    from p2pshare.errors import TransferStalled as TransferStalled
    from p2pshare.errors import UploadError as UploadError
    from p2pshare.events import AvailableFile as AvailableFile
    from p2pshare.events import DownloadCancelled as DownloadCancelled
    from p2pshare.events import DownloadCompleted as DownloadCompleted
    from p2pshare.events import DownloadEvent as DownloadEvent
    from p2pshare.events import DownloadFailed as DownloadFailed
    from p2pshare.events import DownloadInterrupted as DownloadInterrupted
    from p2pshare.events import DownloadPaused as DownloadPaused
    from p2pshare.events import DownloadProgress as DownloadProgress
    from p2pshare.events import DownloadResumed as DownloadResumed
    from p2pshare.events import DownloadStarted as DownloadStarted
    from p2pshare.events import Event as Event
    from p2pshare.events import FileAvailable as FileAvailable
    from p2pshare.events import FileOffered as FileOffered
    from p2pshare.events import FileUnavailable as FileUnavailable
    from p2pshare.events import LinkFailed as LinkFailed
    from p2pshare.events import Offer as Offer
    from p2pshare.events import PeerJoined as PeerJoined
    from p2pshare.events import PeerLeft as PeerLeft
    from p2pshare.events import PeerReady as PeerReady
    from p2pshare.events import PeerUnresponsive as PeerUnresponsive
    from p2pshare.events import UploadCancelled as UploadCancelled
    from p2pshare.events import UploadClosed as UploadClosed
    from p2pshare.events import UploadCompleted as UploadCompleted
    from p2pshare.events import UploadEvent as UploadEvent
    from p2pshare.events import UploadFailed as UploadFailed
    from p2pshare.events import UploadInterrupted as UploadInterrupted
    from p2pshare.events import UploadPaused as UploadPaused
    from p2pshare.events import UploadProgress as UploadProgress
    from p2pshare.events import UploadResumed as UploadResumed
    from p2pshare.events import UploadStarted as UploadStarted
    from p2pshare.model import EVERYONE as EVERYONE
    from p2pshare.model import Conflict as Conflict
    from p2pshare.model import ErrorCode as ErrorCode
    from p2pshare.model import Limits as Limits
    from p2pshare.model import OfferedFile as OfferedFile
    from p2pshare.model import Progress as Progress
    from p2pshare.rtc import PathStats as PathStats
    from p2pshare.rtc import RTCPeerConnection as RTCPeerConnection
    from p2pshare.rtc import accelerate as accelerate
    from p2pshare.session import Accept as Accept
    from p2pshare.session import AcceptRule as AcceptRule
    from p2pshare.session import Decline as Decline
    from p2pshare.session import Delivery as Delivery
    from p2pshare.session import DeliveryState as DeliveryState
    from p2pshare.session import Download as Download
    from p2pshare.session import Session as Session
    from p2pshare.session import Upload as Upload
    from p2pshare.session import UploadResult as UploadResult
    from p2pshare.session import attach as attach
    from p2pshare.session import join as join
    from p2pshare.storage import from_bytes as from_bytes
    from p2pshare.storage import from_file_object as from_file_object
    from p2pshare.storage import from_stream as from_stream

__version__ = "0.1.0"

_NAMES = {
    "p2pshare.errors": """
        ConnectionLost DownloadError DownloadNotAvailable FileTooLarge IntegrityError LocalProtocolError
        OfferDeclined P2PShareError ProtocolError RemoteProtocolError SaveFailed SharingNotAvailable
        SignalingFailed StorageAccessDenied TransferCancelled TransferError TransferStalled UploadError
    """,
    "p2pshare.events": """
        AvailableFile DownloadCancelled DownloadCompleted DownloadEvent DownloadFailed DownloadInterrupted
        DownloadPaused DownloadProgress DownloadResumed DownloadStarted Event FileAvailable FileOffered
        FileUnavailable LinkFailed Offer PeerJoined PeerLeft PeerReady PeerUnresponsive UploadCancelled
        UploadClosed UploadCompleted UploadEvent UploadFailed UploadInterrupted UploadPaused UploadProgress
        UploadResumed UploadStarted
    """,
    "p2pshare.model": "EVERYONE Conflict ErrorCode Limits OfferedFile Progress",
    "p2pshare.rtc": "PathStats RTCPeerConnection accelerate",
    "p2pshare.session": """
        Accept AcceptRule Decline Delivery DeliveryState Download Session Upload UploadResult attach join
    """,
    "p2pshare.storage": "from_bytes from_file_object from_stream",
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
