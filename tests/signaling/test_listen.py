from __future__ import annotations

import socket

import pytest

from signaling.errors import CannotListen
from signaling.listen import listen, reachable_hosts


def close(listeners: list[socket.socket]) -> None:
    for listener in listeners:
        listener.close()


def test_a_free_port_is_chosen() -> None:
    listeners = listen("127.0.0.1", 0)
    assert listeners[0].getsockname()[1] > 0
    assert reachable_hosts(listeners) == ["127.0.0.1"]
    close(listeners)


def test_all_addresses_of_a_name_share_one_port() -> None:
    listeners = listen("localhost", 0)
    assert len({listener.getsockname()[1] for listener in listeners}) == 1
    assert "127.0.0.1" in reachable_hosts(listeners)
    close(listeners)


def test_listening_everywhere_names_addresses_that_can_be_reached() -> None:
    listeners = listen(None, 0)
    port = listeners[0].getsockname()[1]
    hosts = reachable_hosts(listeners)
    assert hosts[-1] == "127.0.0.1"
    assert not {"0.0.0.0", "::"} & set(hosts)
    socket.create_connection(("127.0.0.1", port)).close()
    close(listeners)


def test_a_port_in_use_is_named() -> None:
    listeners = listen("127.0.0.1", 0)
    port = listeners[0].getsockname()[1]
    with pytest.raises(CannotListen) as caught:
        listen("127.0.0.1", port)
    assert str(caught.value) == f"cannot listen on 127.0.0.1 port {port}: Address already in use"
    with pytest.raises(CannotListen, match=rf"cannot listen on \* port {port}: Address already in use"):
        listen(None, port)
    close(listeners)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "a" * 70 + ".invalid"])
def test_a_host_that_is_not_ours_is_named(host: str) -> None:
    with pytest.raises(CannotListen, match=f"cannot listen on {host} port 1: "):
        listen(host, 1)


def test_without_ipv6_it_listens_on_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    listeners = listen(None, 0)
    assert [listener.family for listener in listeners] == [socket.AF_INET]
    assert reachable_hosts(listeners)[-1] == "127.0.0.1"
    close(listeners)
