"""Two members of a room: one shares bytes with everyone, the other takes them into memory.

    python examples/room.py

The signaling server runs in the same process here; anywhere else it is `p2pshare serve`.
"""

import asyncio

import p2pshare
from signaling.server import SignalingServer


async def main() -> None:
    async with (
        SignalingServer("127.0.0.1", 0) as server,
        p2pshare.join(server.url, room="demo", name="alice") as alice,
        p2pshare.join(server.url, room="demo", name="bob") as bob,
    ):
        upload = alice.send_files(p2pshare.from_bytes("greeting.txt", b"hello"), to=p2pshare.EVERYONE)

        async for event in bob.events():
            if isinstance(event, p2pshare.FileAvailable):
                greeting = await bob.download_file(event.file, save_to=None)
                print(f"bob has {event.file.name}: {greeting.decode()}")
                break

        result = await upload
        print("delivered to:", *result.completed)
        upload.close()


asyncio.run(main())
