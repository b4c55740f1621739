"""A peer as a process of its own, to be killed: joins a room, and sends a file or takes what is offered.

    python -m tests.session.peer_process URL NAME send PATH
    python -m tests.session.peer_process URL NAME receive FOLDER

Prints a line a step.
"""

from __future__ import annotations

import asyncio
import sys

import p2pshare


async def main(url: str, name: str, what: str, path: str) -> None:
    async with p2pshare.join(
        url, room="den", name=name, download_dir=path, state_dir=f"{path}.state"
    ) as session:
        sys.stdout.write("joined\n")
        sys.stdout.flush()
        if what == "send":
            await session.send_files(path, to=p2pshare.EVERYONE)
            return
        async for event in session.events():
            if isinstance(event, p2pshare.FileOffered):
                session.download_files(event.offer.files)
            elif isinstance(event, p2pshare.DownloadProgress):
                sys.stdout.write(f"{event.progress.stored}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
