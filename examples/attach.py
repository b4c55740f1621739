"""Share a file over an RTCPeerConnection that a program owns already, beside its audio and video.

    python examples/attach.py

Two peers in one process stand in for two programs; the descriptions travel as they always did.
"""

import asyncio
import os
import tempfile

from aiortc import RTCConfiguration, RTCPeerConnection

import p2pshare


async def main() -> None:
    alice_pc, bob_pc = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in range(2))

    # One line on each side, before or after the connection connects.
    alice, bob = p2pshare.attach(alice_pc, peer="bob"), p2pshare.attach(bob_pc, peer="alice")

    await alice_pc.setLocalDescription(await alice_pc.createOffer())
    await bob_pc.setRemoteDescription(alice_pc.localDescription)
    await bob_pc.setLocalDescription(await bob_pc.createAnswer())
    await alice_pc.setRemoteDescription(bob_pc.localDescription)

    with tempfile.TemporaryDirectory() as folder:
        bob.on(p2pshare.FileOffered, lambda event: bob.download_files(event.offer.files, save_to=folder))
        await alice.send_files(__file__, to="bob")
        print("arrived:", *os.listdir(folder))

    await alice.close()
    await bob.close()
    await alice_pc.close()
    await bob_pc.close()


asyncio.run(main())
