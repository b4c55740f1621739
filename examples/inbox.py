"""A bot that takes what a room sends it, up to 10 MB an offer, into the folder ./inbox."""

import asyncio
import sys

import p2pshare

LIMIT = 10_000_000
USAGE = "usage: python examples/inbox.py SERVER ROOM"


async def main(server: str, room: str) -> None:
    async with p2pshare.join(server, room=room, name="inbox", download_dir="inbox") as session:
        print(f"taking up to {LIMIT:,} bytes an offer")

        async for event in session.events():
            match event:
                case p2pshare.FileOffered(offer) if offer.size is None or offer.size > LIMIT:
                    session.decline(offer, f"at most {LIMIT:,} bytes")
                    print(f"declined: {offer.size} bytes")
                case p2pshare.FileOffered(offer):
                    session.download_files(offer.files)
                case p2pshare.DownloadProgress(progress=progress):
                    print(f"{progress.stored:,} bytes, {progress.files_done} of {progress.files} files")
                case p2pshare.DownloadCompleted(paths=paths):
                    print("saved:", *(path.name for path in paths.values()))
                case p2pshare.DownloadFailed(error=error) | p2pshare.DownloadCancelled(error=error):
                    print(f"not saved: {error}")


if len(sys.argv) != 3:
    print(USAGE, file=sys.stderr)
    sys.exit(2)
try:
    asyncio.run(main(*sys.argv[1:]))
except KeyboardInterrupt:
    print("bye")
except (p2pshare.P2PShareError, ValueError) as error:
    sys.exit(f"error: {error}")
