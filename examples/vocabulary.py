"""Every word of file sharing, with callbacks: Ann sends, Bob and Cy receive.

python examples/vocabulary.py
"""

import asyncio

import p2pshare
from signaling.server import SignalingServer


def tell(name: str, session: p2pshare.Session) -> None:
    session.on(
        p2pshare.UploadStarted, lambda event: print(f"{name}: {event.peer} accepts job {event.job_id}")
    )
    session.on(p2pshare.UploadCompleted, lambda event: print(f"{name}: {event.peer} has job {event.job_id}"))
    session.on(p2pshare.UploadFailed, lambda event: print(f"{name}: {event.peer}: {event.error.code}"))
    session.on(
        p2pshare.UploadCancelled, lambda event: print(f"{name}: {event.peer} gets no job {event.job_id}")
    )
    session.on(p2pshare.UploadClosed, lambda event: print(f"{name}: job {event.job_id} is over"))
    session.on(p2pshare.FileOffered, lambda event: print(f"{name}: {event.offer.peer} offers"))
    session.on(p2pshare.FileAvailable, lambda event: print(f"{name}: {event.file.name} can be downloaded"))
    session.on(p2pshare.FileUnavailable, lambda event: print(f"{name}: {event.file.name} is gone"))
    session.on(p2pshare.DownloadCompleted, lambda event: print(f"{name}: saved from {event.peer}"))
    session.on(p2pshare.DownloadFailed, lambda event: print(f"{name}: not saved: {event.error.code}"))
    session.on(p2pshare.DownloadCancelled, lambda event: print(f"{name}: cancelled: {event.error.reason}"))


async def main() -> None:
    async with (
        SignalingServer("127.0.0.1", 0) as server,
        p2pshare.join(server.url, room="den", name="ann") as ann,
        p2pshare.join(server.url, room="den", name="bob", download_dir="inbox") as bob,
        p2pshare.join(server.url, room="den", name="cy") as cy,
    ):
        for name, session in (("ann", ann), ("bob", bob), ("cy", cy)):
            tell(name, session)
        plan = ann.send_files(p2pshare.from_bytes("plan.txt", b"the plan"), to=p2pshare.EVERYONE)
        print("saved:", (await bob.download_file(await available(bob, "plan.txt"))).name)
        print("not saved:", await cy.download_file(await available(cy, "plan.txt"), save_to=None))
        plan.close()  # or it stays available to who joins later
        film = ann.send_files(p2pshare.from_bytes("film.mkv", bytes(9**6)), to=["bob", "cy"], rate_limit=9**5)
        download = bob.download_file(await available(bob, "film.mkv"))
        await available(cy, "film.mkv")
        cy.decline(cy.offers[-1], "no room")
        bob.cancel_download(download.id, "changed my mind")  # or .cancel(), or cancel_all_downloads()
        await film.wait()
        ann.cancel_all_uploads()  # or cancel_upload(id), or .cancel()


async def available(session: p2pshare.Session, name: str) -> p2pshare.AvailableFile:
    events = session.events()
    while name not in (files := {file.name: file for file in session.available_files}):
        await anext(events)
    return files[name]


asyncio.run(main())
