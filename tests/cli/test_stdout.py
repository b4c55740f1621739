"""One file to standard output: all of its bytes, nothing else, and the truth about them at the end."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from blake3 import blake3

from p2pshare.cli.stdout import CLOSED, StdoutSink
from p2pshare.errors import IntegrityError, SaveFailed
from p2pshare.model import MIB, Extent, FileEnd, OfferedFile
from tests.cli.conftest import Start
from tests.cli.processes import HANG_S, Command, environment
from tests.support.needs import needs_command

Room = tuple[str, ...]


@pytest.fixture
def pipe() -> tuple[int, int]:
    return os.pipe()


def end_of(content: bytes) -> FileEnd:
    return FileEnd(0, len(content), blake3(content).digest())


async def test_bytes_go_through_and_are_confirmed_by_their_digest(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    sink = StdoutSink(OfferedFile(0, ("a",), 6), writing)
    report = await sink.store([Extent(0, 0, b"abc"), Extent(0, 3, b"def"), end_of(b"abcdef")])
    assert (report.stored, report.confirmed) == (6, [0])
    assert os.read(reading, 10) == b"abcdef"
    await sink.close(keep_parts=False)


async def test_a_digest_that_differs_fails_the_file(pipe: tuple[int, int]) -> None:
    sink = StdoutSink(OfferedFile(0, ("a",), 3), pipe[1])
    report = await sink.store([Extent(0, 0, b"abX"), end_of(b"abc")])
    assert isinstance(report.failed[0], IntegrityError)
    assert not report.confirmed
    await sink.close(keep_parts=False)


async def test_a_pipe_that_nobody_reads_holds_the_job_back_until_it_is_abandoned(
    pipe: tuple[int, int],
) -> None:
    sink = StdoutSink(OfferedFile(0, ("a",), 2 * MIB), pipe[1])
    storing = asyncio.ensure_future(sink.store([Extent(0, 0, bytes(2 * MIB))]))
    done, _ = await asyncio.wait([storing], timeout=0.2)
    assert not done
    sink.abandon()
    assert isinstance((await storing).failed[0], SaveFailed)
    await sink.close(keep_parts=False)
    os.close(pipe[0])  # and the thread ends


async def test_a_closed_pipe_fails_the_file_with_a_sentence(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    sink = StdoutSink(OfferedFile(0, ("a",), 3), pipe[1])
    report = await sink.store([Extent(0, 0, b"abc")])
    assert report.failed[0].reason == CLOSED
    await sink.close(keep_parts=False)


async def test_after_a_lost_connection_it_goes_on_at_the_byte_where_it_was() -> None:
    content = os.urandom(2 * MIB + 700_000)
    reading, writing = os.pipe()
    sink = StdoutSink(OfferedFile(0, ("a",), len(content)), writing)
    taken = bytearray()

    def drain() -> None:
        while chunk := os.read(reading, 1 << 16):
            taken.extend(chunk)

    draining = asyncio.get_running_loop().run_in_executor(None, drain)
    await sink.store([Extent(0, 0, content[: MIB + 500_000])])
    (held,) = await sink.reopen()
    assert held.digests == (blake3(content[:MIB]).digest(),)
    report = await sink.store(
        [
            Extent(0, MIB, content[MIB : MIB + 200_000]),  # again, all of it
            Extent(0, MIB + 200_000, content[MIB + 200_000 : 2 * MIB]),  # again, in part
            Extent(0, 2 * MIB, content[2 * MIB :]),
            end_of(content),
        ]
    )
    assert report.confirmed == [0]
    assert report.stored == len(content) - MIB
    os.close(writing)
    await draining
    assert bytes(taken) == content
    await sink.close(keep_parts=False)


def receive_into(start: Start, room: Room, *options: str) -> Command:
    receive = start("receive", *room, "--accept", "all", "--stdout", "--name", "bob", *options)
    receive.said("waiting")
    return receive


def test_a_pipe_to_a_pipe(start: Start, room: Room) -> None:
    text = "".join(f"line {number}\n" for number in range(20_000))
    receive = receive_into(start, room)
    send = start("send", "-", "--filename", "log.txt", *room, stdin=subprocess.PIPE)
    assert send.process.stdin is not None
    send.process.stdin.write(text)
    send.process.stdin.close()
    sent, received = send.ended(), receive.ended()
    assert (sent.code, received.code) == (0, 0), sent.err + received.err
    assert received.out == text
    assert "from " in received.err


def test_a_reader_that_is_gone_ends_both_with_a_sentence(start: Start, room: Room, tmp_path: Path) -> None:
    source = tmp_path / "a.bin"
    source.write_bytes(bytes(3_000_000))
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "p2pshare", "receive", *room, "--accept", "all", "--stdout"]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(tmp_path),
    ) as receive:
        os.close(writing)
        sent = start("send", source, *room).ended()
        _, told = receive.communicate(timeout=HANG_S)
    assert (sent.code, receive.returncode) == (5, 5)
    assert told.splitlines()[-1] == f"error: 'a.bin': {CLOSED} (5090)"
    assert "Traceback" not in told


def test_a_pipe_that_nobody_reads_does_not_keep_it_from_being_cancelled(
    start: Start, room: Room, tmp_path: Path
) -> None:
    source = tmp_path / "a.bin"
    source.write_bytes(bytes(3_000_000))
    reading, writing = os.pipe()
    command = [
        sys.executable,
        "-m",
        "p2pshare",
        "receive",
        *room,
        "--accept",
        "all",
        "--stdout",
        "--name",
        "bob",
    ]
    send = start("send", source, *room, "--json")
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=writing, stderr=subprocess.PIPE, env=environment(tmp_path)
    ) as receive:
        send.event("upload_progress")
        receive.send_signal(signal.SIGINT)
        receive.communicate(timeout=HANG_S)
    for each in (reading, writing):
        os.close(each)
    assert receive.returncode == 130
    assert send.ended().code == 130


def test_an_offer_of_several_files_is_declined_unless_one_is_chosen(
    start: Start, room: Room, tmp_path: Path
) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    sources = (tmp_path / "a.txt", tmp_path / "b.txt")
    receive = receive_into(start, room)
    sent, received = start("send", *sources, *room, "--name", "alice").ended(), receive.ended()
    assert (sent.code, received.code) == (3, 3)
    assert "'alice' offers 2 files, and --stdout takes one file" in received.err
    receive = receive_into(start, room, "--only", "B*")
    sent, received = start("send", *sources, *room).ended(), receive.ended()
    assert (sent.code, received.code, received.out) == (0, 0, "b.txt")


@needs_command("script")
def test_a_terminal_is_refused(room: Room, tmp_path: Path) -> None:
    command = shlex.join([sys.executable, "-m", "p2pshare", "receive", *room, "--stdout"])
    run = subprocess.run(
        ["script", "-qec", command, os.devnull],
        env=environment(tmp_path),
        capture_output=True,
        timeout=HANG_S,
    )
    assert run.returncode == 2
    assert b"--stdout to a terminal" in run.stdout
