"""A receiver that is killed at a random point of a large file, ten times: next to nothing travels twice."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from blake3 import blake3

from p2pshare.model import BLOCK_SIZE, MIB, Limits
from tests.session.matrix.cells import Outcome
from tests.session.matrix.process import PORT, Counts, Life, Remote, RemoteServer
from tests.session.matrix.program import MAIN
from tests.support.lan import Lan, lan
from tests.support.needs import needs_command, needs_namespaces

pytestmark = [needs_command("ip"), needs_namespaces()]

# Gigabytes are for those who ask for it: the thorough profile sends 256 MiB ten times.
SIZE = (256 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 48) * MIB
KILLS = 10
LIMITS = Limits(silence_timeout_s=1.0)
"The sender notices sooner than usual that nobody is there."


@pytest.mark.timeout(1200)  # a slow disk takes gigabytes of this
async def test_a_receiver_killed_at_any_point_of_a_large_file_goes_on_from_there(tmp_path: Path) -> None:
    outbox, inbox = tmp_path / "outbox", tmp_path / "inbox"
    digest = _write_random(outbox / MAIN)
    inbox.mkdir()
    lots = random.Random(1)
    counts = Counts()
    with lan("alice", "bob") as network:
        server = RemoteServer(network.switch, network.server_address)
        alice = bob = None
        try:
            await server.ready()
            alice = await _join("alice", outbox, network, counts)
            for _ in range(KILLS):
                counts.sent[MAIN] = counts.jobs[MAIN] = 0
                bob = await _join("bob", inbox, network, counts)
                await bob.call("tell_at", str(lots.randrange(SIZE)))
                await alice.call("send", MAIN)
                await bob.reached()
                bob.close()
                bob = await _join("bob", inbox, network, counts)
                assert await alice.call("sent", MAIN) is Outcome.COMPLETED
                assert await bob.call("received", MAIN) == [Outcome.COMPLETED]
                assert [path.name for path in inbox.iterdir()] == [MAIN]
                assert _digest(inbox / MAIN) == digest
                twice, breaks = counts.sent[MAIN] - SIZE, counts.jobs[MAIN] - 1
                assert twice <= breaks * (BLOCK_SIZE + LIMITS.max_window)
                (inbox / MAIN).unlink()
                await bob.call("close")
                bob.close()
        finally:
            for remote in (alice, bob, server):
                if remote is not None:
                    remote.close()


async def _join(name: str, folder: Path, network: Lan, counts: Counts) -> Remote:
    url = f"http://{network.server_address}:{PORT}"
    life = Life(name, network.hosts[name], folder, LIMITS, url, sizes={MAIN: SIZE})
    remote = Remote(life, counts)
    await remote.call("join")
    return remote


def _write_random(path: Path) -> bytes:
    path.parent.mkdir()
    hasher = blake3()
    with path.open("wb") as file:
        for _ in range(SIZE // MIB):
            block = os.urandom(MIB)
            file.write(block)
            hasher.update(block)
    return hasher.digest()


def _digest(path: Path) -> bytes:
    return blake3().update_mmap(path).digest()
