"""``p2pshare bench``: two ends measure the path between them, both ways."""

from __future__ import annotations

import asyncio
import json
import re
import sys

import pytest

pytestmark = pytest.mark.asyncio


class Bench:
    """One end, as a process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, *arguments: str) -> Bench:
        command = [sys.executable, "-m", "p2pshare", "bench", "--size", "4M", *arguments]
        pipe = asyncio.subprocess.PIPE
        return cls(await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe))

    async def server(self) -> str:
        """The address that the first end says to type at the other."""
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            if found := re.search(rb"--server (\S+)", line):
                return found[1].decode()
        raise AssertionError("no address was printed")

    async def end(self) -> tuple[int | None, str, str]:
        out, err = await self.process.communicate()
        return self.process.returncode, out.decode(), err.decode()


async def test_both_ends_say_what_the_path_gave_each_way() -> None:
    first = await Bench.start("--room", "lab")
    second = await Bench.start("--room", "lab", "--server", await first.server(), "--json")
    code, out, _ = await second.end()
    assert code == 0
    measured = [line for line in map(json.loads, out.splitlines()) if line["type"] == "measured"]
    assert [line["direction"] for line in measured] == ["to", "from"]
    assert all(line["bytes"] == 4_000_000 and line["seconds"] > 0 for line in measured)
    code, _, err = await first.end()
    assert code == 0
    assert re.search(r"from '.*': [\d.]+ MB/s", err)
    assert re.search(r"to '.*': [\d.]+ MB/s", err)
    assert err.count("limit:") == 2


async def test_nobody_to_measure_with_is_exit_code_4() -> None:
    alone = await Bench.start("--room", "lab", "--timeout", "0.2")
    code, _, err = await alone.end()
    assert code == 4
    assert "nobody came" in err
