"""The datagram transport: trains of datagrams out and in, and what the kernel refuses."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from itertools import repeat

import pytest

from p2pshare.rtc.datapath import offload, seams, udp
from p2pshare.rtc.datapath.offload import NO_OFFLOAD
from tests.rtc.datapath.agents import Agent, FailingSocket, agents, record
from tests.support.needs import only_on

FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])


def train(count: int, size: int = 1_000, last: int = 300) -> list[bytes]:
    return [record(size if i < count - 1 else last, fill=i) for i in range(count)]


@only_on("linux")
@FAMILIES
async def test_a_train_travels_in_one_call_and_arrives_as_its_datagrams(family: socket.AddressFamily) -> None:
    async with agents(family=family) as (left, right):
        right.take_trains()
        sent = train(40)
        assert left.transport.send_train(memoryview(b"".join(sent)), 1_000, right.address)
        assert await right.records(40) == sent
        assert left.transport.stats.sends == 1
        assert right.transport.stats.receives == 1
        assert right.transport.stats.datagrams_received == 40


@FAMILIES
async def test_without_offload_the_same_bytes_go_one_by_one(family: socket.AddressFamily) -> None:
    async with agents(family=family, offers=NO_OFFLOAD) as (left, right):
        right.take_trains()
        sent = train(40)
        assert left.transport.send_train(memoryview(b"".join(sent)), 1_000, right.address)
        assert await right.records(40) == sent
        assert left.transport.stats.sends == 40
        assert not right.transport.merges


async def test_a_train_longer_than_the_kernel_takes_goes_in_several_calls() -> None:
    async with agents() as (left, right):
        right.take_trains()
        sent = train(150, size=600, last=600)
        assert left.transport.send_train(memoryview(b"".join(sent)), 600, right.address)
        assert await right.records(150) == sent


@pytest.mark.parametrize("refusal", [errno.EIO, errno.EINVAL, errno.EOPNOTSUPP, errno.EMSGSIZE])
async def test_a_refused_train_turns_offload_off_and_loses_nothing(refusal: int) -> None:
    async with agents() as (left, right):
        if not left.transport.segments:
            pytest.skip("only on linux")
        right.take_trains()
        assert isinstance(left.socket, FailingSocket)
        left.socket.train_failures = iter([OSError(refusal, "refused")])
        sent = train(5)
        assert left.transport.send_train(memoryview(b"".join(sent)), 1_000, right.address)
        assert await right.records(5) == sent
        assert not left.transport.segments


async def test_a_train_of_too_large_datagrams_is_lost_and_offload_stays() -> None:
    async with agents() as (left, right):
        if not left.transport.segments:
            pytest.skip("only on linux")
        right.take_trains()
        assert isinstance(left.socket, FailingSocket)
        left.socket.train_failures = iter([OSError(errno.EMSGSIZE, "too long")])
        left.socket.failures = iter([OSError(errno.EMSGSIZE, "too long")])
        assert left.transport.send_train(memoryview(b"".join(train(5))), 1_000, right.address)
        assert left.transport.stats.too_large == 1
        assert left.transport.segments
        small = [record(500)]
        assert left.transport.send_train(memoryview(small[0]), 500, right.address)
        assert await right.records(1) == small


@pytest.mark.parametrize("offers", [None, NO_OFFLOAD])
async def test_what_meets_a_full_socket_waits_and_goes_in_its_order(offers: offload.Offload | None) -> None:
    async with agents(offers=offers) as (left, right):
        right.take_trains()
        assert isinstance(left.socket, FailingSocket)
        full = BlockingIOError(errno.EAGAIN, "full")
        left.socket.failures = iter([None, None, full]) if offers else iter(())
        left.socket.train_failures = iter([full])
        writable = asyncio.Event()
        left.transport.on_writable = writable.set
        sent = train(6)
        assert not left.transport.send_train(memoryview(b"".join(sent[:4]) + sent[5]), 1_000, right.address)
        left.transport.sendto(sent[4], right.address)
        assert left.transport.is_queueing
        assert left.transport.get_write_buffer_size() > 0
        await asyncio.wait_for(writable.wait(), 10)
        assert await right.records(6) == [*sent[:4], sent[5], sent[4]]
        assert left.transport.get_write_buffer_size() == 0


async def test_what_waits_for_a_full_socket_is_bounded() -> None:
    async with agents() as (left, right):
        assert isinstance(left.socket, FailingSocket)
        left.socket.failures = repeat(BlockingIOError(errno.EAGAIN, "full"))
        for _ in range(2_000):
            left.transport.sendto(record(1_000), right.address)
        assert left.transport.get_write_buffer_size() <= udp.QUEUE_LIMIT
        assert left.transport.stats.dropped > 900
        left.socket.failures = iter(())


async def test_closing_sends_what_waits_and_aborting_does_not() -> None:
    async with agents() as (left, right):
        right.take_trains()
        assert isinstance(left.socket, FailingSocket)
        left.socket.failures = iter([BlockingIOError(errno.EAGAIN, "full")])
        left.transport.sendto(record(100), right.address)
        await left.protocol.close()
        assert left.transport.is_closing()
        assert left.socket.fileno() < 0
        left.transport.sendto(record(100), right.address)  # ignored, as asyncio does
        assert await right.records(1) == [record(100)]
    async with agents() as (left, right):
        assert isinstance(left.socket, FailingSocket)
        left.socket.failures = repeat(BlockingIOError(errno.EAGAIN, "full"))
        left.transport.sendto(record(100), right.address)
        left.transport.abort()
        left.transport.abort()
        await left.protocol.close()
        assert left.socket.fileno() < 0


async def test_a_consent_check_that_rides_in_a_train_reaches_ice_and_the_records_reach_us() -> None:
    async with agents() as (left, right):
        right.take_trains()
        media = record(200, first=128)
        mixed = [record(200, 1), record(200, 2), media, record(200, 3), record(150, 4)]
        left.transport.send_train(memoryview(b"".join(mixed)), 200, right.address)
        assert await right.records(4) == [each for each in mixed if each is not media]
        assert await right.queued() == media


async def test_before_the_data_path_opens_every_datagram_goes_to_aiortc() -> None:
    async with agents() as (left, right):
        sent = train(3)
        left.transport.send_train(memoryview(b"".join(sent)), 1_000, right.address)
        assert [await right.queued() for _ in sent] == sent


async def test_the_socket_is_asked_for_large_buffers_and_tells_what_it_got() -> None:
    async with agents() as (left, _):
        assert left.transport.receive_buffer.size >= 200_000
        assert left.transport.send_buffer_size >= 200_000
        assert left.transport.get_extra_info("socket") is left.socket
        assert left.transport.get_extra_info("sockname") == left.address


@only_on("linux")
@FAMILIES
async def test_datagrams_are_sent_with_the_dont_fragment_bit(family: socket.AddressFamily) -> None:
    async with agents(family=family) as (left, _):
        left.transport.forbid_fragments()
        option = (
            (socket.IPPROTO_IPV6, offload.IPV6_MTU_DISCOVER)
            if family == socket.AF_INET6
            else (socket.IPPROTO_IP, offload.IP_MTU_DISCOVER)
        )
        assert left.socket.getsockopt(*option) == offload.PMTUDISC_PROBE


async def test_media_too_large_for_the_network_still_goes_in_fragments() -> None:
    async with agents() as (left, right):
        left.transport.forbid_fragments()
        assert isinstance(left.socket, FailingSocket)
        left.socket.failures = iter([OSError(errno.EMSGSIZE, "too long")])
        left.transport.sendto(record(1_600, first=128), right.address)
        assert await right.queued() == record(1_600, first=128)
        assert left.transport.stats.too_large == 0


@only_on("linux")
async def test_closing_leaves_no_descriptor_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    async with agents():
        pass
    assert len(os.listdir("/proc/self/fd")) == before


async def test_an_error_that_the_network_reports_reaches_ice_and_ends_nothing() -> None:
    async with agents() as (left, right):
        right.take_trains()
        assert isinstance(left.socket, FailingSocket)
        left.socket.failures = iter([OSError(errno.ENETUNREACH, "unreachable")])
        left.socket.train_failures = iter([OSError(errno.ENETUNREACH, "unreachable")])
        left.transport.sendto(record(100), right.address)
        assert left.transport.send_train(memoryview(b"".join(train(3))), 1_000, right.address)
        left.transport.sendto(record(100), right.address)
        assert await right.records(1) == [record(100)]


def test_the_kernel_is_asked_once_and_a_platform_without_offload_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert offload.probe() is offload.probe()
    monkeypatch.setattr("sys.platform", "darwin")
    assert offload.probe.__wrapped__() == NO_OFFLOAD


async def test_a_busy_socket_leaves_the_event_loop_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "DATAGRAMS_PER_WAKE_UP", 10)
    async with agents(offers=NO_OFFLOAD) as (left, right):
        right.take_trains()
        for i in range(100):
            left.transport.sendto(record(100, fill=i), right.address)
        turns = 0
        while sum(map(len, right.trains)) < 100:
            turns += 1
            await asyncio.sleep(0)
            assert turns < 10_000
        assert right.transport.stats.receives == 100
        assert turns >= 100 // (10 + udp.GATHERED_OF_FOREIGNERS)


async def test_datagrams_of_one_size_that_come_singly_are_passed_on_together() -> None:
    async with agents(offers=NO_OFFLOAD) as (left, right):
        right.take_trains()
        right.transport.gathers = 32
        sent = [record(size, fill=i) for i, size in enumerate([500] * 5 + [400] + [600] * 40 + [300, 700])]
        for datagram in sent:
            left.transport.sendto(datagram, right.address)
        assert await right.records(len(sent)) == sent
        assert [len(train) for train in right.trains] == [6, 32, 9, 1]


async def test_no_batch_holds_more_than_a_foreign_peer_s_few_nor_two_senders_datagrams() -> None:
    async with agents(offers=NO_OFFLOAD) as (left, right):
        right.take_trains()
        other = Agent(FailingSocket())
        await right.trusts(other)
        for sender, count in ((left, 14), (other, 3), (left, 1)):
            for _ in range(count):
                sender.transport.sendto(record(500), right.address)
        assert len(await right.records(18)) == 18
        assert [len(train) for train in right.trains] == [6, 6, 2, 3, 1]
        await other.protocol.close()


async def test_an_agent_of_its_own_trusts_nobody() -> None:
    async with agents() as (left, right):
        stranger = Agent(FailingSocket())
        right.take_trains()
        for _ in range(3):
            stranger.transport.sendto(record(100), right.address)
        stranger.transport.send_train(memoryview(b"".join(train(5))), 1_000, right.address)
        left.transport.sendto(record(200), right.address)
        assert await right.records(1) == [record(200)]
        assert right.guard.drops.strange == 8
        assert seams.received(right.connection).empty()
        await stranger.protocol.close()
