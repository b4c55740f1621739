"""Hosts of their own on this machine, in network namespaces on one switch, with cables that can be cut."""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_CLONE_NEWNET: Final = 0x40000000
_numbers = itertools.count(1)


class Lan:
    """Two hosts and a switch; the switch has an address as well, for a server."""

    server_address: Final = "198.18.7.254"

    def __init__(self, prefix: str, hosts: tuple[str, ...]) -> None:
        self.switch = f"{prefix}-switch"
        self.hosts = {host: f"{prefix}-{host}" for host in hosts}
        "Namespaces, by the host's name."

    @property
    def namespaces(self) -> list[str]:
        return [self.switch, *self.hosts.values()]

    def cut(self, host: str) -> None:
        """Pull a host's cable out of the switch."""
        _ip("-n", self.switch, "link", "set", "dev", host, "down")

    def heal(self, host: str) -> None:
        """Put it back."""
        _ip("-n", self.switch, "link", "set", "dev", host, "up")

    def build(self) -> None:
        for namespace in self.namespaces:
            _ip("netns", "add", namespace)
        ports = [
            line
            for host, namespace in self.hosts.items()
            for line in (
                f"link add {host} type veth peer name eth0 netns {namespace}",
                f"link set {host} master switch up",
            )
        ]
        _batch(
            self.switch,
            "link add switch type bridge",
            f"addr add {self.server_address}/24 dev switch",
            "link set switch up",
            *ports,
        )
        for number, namespace in enumerate(self.hosts.values(), 1):
            _batch(
                namespace,
                "link set lo up",
                f"addr add 198.18.7.{number}/24 dev eth0",
                "link set eth0 up",
            )

    def remove(self) -> None:
        for namespace in self.namespaces:
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)


@contextmanager
def lan(*hosts: str) -> Iterator[Lan]:
    """Hosts of these names on a switch; gone at the end, as soon as the last process in them is."""
    made = Lan(f"p2pshare-{os.getpid()}-{next(_numbers)}", hosts)
    try:
        made.build()
        yield made
    finally:
        made.remove()


def enter(namespace: str) -> None:
    """Move this process, which has one thread, to a host."""
    fd = os.open(Path("/run/netns") / namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(fd, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(fd)


def _batch(namespace: str, *lines: str) -> None:
    subprocess.run(["ip", "-n", namespace, "-batch", "-"], input="\n".join(lines), text=True, check=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
