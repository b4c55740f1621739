"""A bot in a call takes pictures and small files. (Two peers in one process stand in for two programs.)"""

import asyncio

from aiortc import RTCConfiguration, RTCPeerConnection
from aiortc.mediastreams import AudioStreamTrack

import p2pshare

RULES = [
    p2pshare.AcceptRule(media_types=("image/*",), max_size=50_000_000),
    p2pshare.AcceptRule(max_files=10, max_size=1_000_000),
]


async def main() -> None:
    caller_pc, bot_pc = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in range(2))
    caller_pc.addTrack(AudioStreamTrack())
    caller = p2pshare.attach(caller_pc, peer="bot")
    bot = p2pshare.attach(bot_pc, peer="caller", download_dir="inbox", accept=RULES)
    bot.on(p2pshare.DownloadCompleted, lambda event: print("saved:", *(p.name for p in event.paths.values())))

    await caller_pc.setLocalDescription(await caller_pc.createOffer())
    await bot_pc.setRemoteDescription(caller_pc.localDescription)
    await bot_pc.setLocalDescription(await bot_pc.createAnswer())
    await caller_pc.setRemoteDescription(bot_pc.localDescription)

    await caller.send_files(p2pshare.from_bytes("holiday.jpg", bytes(2_000_000)), to="bot")
    events = bot.events()
    large = caller.send_files(p2pshare.from_bytes("large.zip", bytes(2_000_000)), to="bot")
    while not isinstance(event := await anext(events), p2pshare.FileOffered):
        pass
    print("left to a person:", event.offer.files[0].name)
    large.cancel()
    for closing in (caller, bot, caller_pc, bot_pc):
        await closing.close()


asyncio.run(main())
