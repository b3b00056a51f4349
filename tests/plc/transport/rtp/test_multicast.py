"""Multicast: groups are joined by the card that is named, over the loopback."""

import select
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from plc.errors import ConfigError, NetworkError
from plc.transport.rtp.udp import Endpoint, UdpPort, parse_endpoint

GROUP, OTHER_GROUP = "239.255.77.1", "239.255.77.2"


def loopback() -> str | None:
    """Return the name of the loopback card, if there is one."""
    names = [name for _, name in socket.if_nameindex()]
    return next((name for name in names if name.startswith("lo")), None)


def arrived(port: UdpPort, within_s: float = 5.0) -> list[bytes]:
    select.select([port.socket], [], [], within_s)
    return [datagram for datagram, _ in port.arrived()]


@pytest.fixture
def sender() -> Iterator[UdpPort]:
    with closing(UdpPort(Endpoint("127.0.0.1", 0))) as port:
        yield port


def group_port(group: str = GROUP, interface: str | None = "127.0.0.1", port: int = 0) -> UdpPort:
    try:
        return UdpPort(Endpoint(group, port, interface))
    except NetworkError as error:
        pytest.skip(f"no multicast over the loopback here: {error}")


def send(sender: UdpPort, group: str, port: int, datagram: bytes) -> None:
    sender.send(datagram, sender.target(Endpoint(group, port, "127.0.0.1")))
    if sender.failed_sends:
        pytest.skip("the system sends nothing to a group over the loopback")


@pytest.mark.parametrize("by_name", [False, True])
def test_what_is_sent_to_a_group_is_received(sender: UdpPort, by_name: bool) -> None:
    name = loopback() if by_name else "127.0.0.1"
    if name is None:
        pytest.skip("the loopback has no name here")
    with closing(group_port(interface=name)) as port:
        send(sender, GROUP, port.endpoint.port, b"to the group")
        assert arrived(port) == [b"to the group"]
        assert port.endpoint.interface == name


def test_several_may_listen_to_a_group(sender: UdpPort) -> None:
    with closing(group_port()) as first, closing(group_port(port=first.endpoint.port)) as second:
        send(sender, GROUP, first.endpoint.port, b"to both")
        assert arrived(first) == arrived(second) == [b"to both"]


def test_only_what_is_sent_to_the_group_is_received(sender: UdpPort) -> None:
    with closing(group_port()) as port, closing(group_port(OTHER_GROUP, port=port.endpoint.port)):
        send(sender, OTHER_GROUP, port.endpoint.port, b"to another group")
        sender.send(b"to the host", ("127.0.0.1", port.endpoint.port))
        send(sender, GROUP, port.endpoint.port, b"to the group")
        assert arrived(port) == [b"to the group"]


def test_a_group_is_left_when_the_port_is_closed() -> None:
    port = group_port()
    left: list[str] = []
    leave = port._leave
    assert leave is not None

    def note() -> None:
        left.append("left")
        leave()

    port._leave = note
    port.close()
    assert left == ["left"]
    assert port.socket.fileno() == -1
    port.close()


def test_a_card_that_is_not_there_is_a_clear_error() -> None:
    with pytest.raises(NetworkError, match="no network card nowhere0; there are"):
        UdpPort(Endpoint(GROUP, 0, "nowhere0"))
    with pytest.raises(
        NetworkError, match=rf"cannot join the multicast group {GROUP} by 192\.0\.2"
    ):
        UdpPort(Endpoint(GROUP, 0, "192.0.2.77"))
    with (
        closing(UdpPort(Endpoint("127.0.0.1", 0))) as port,
        pytest.raises(NetworkError, match=r"cannot send by 192\.0\.2\.77"),
    ):
        port.target(Endpoint(GROUP, 5004, "192.0.2.77"))


def test_groups_of_ipv6_are_joined_by_a_cards_name() -> None:
    name = loopback()
    if not socket.has_ipv6 or name is None:
        pytest.skip("there is no IPv6 here")
    with closing(group_port("ff15::77", name)) as port:
        try:
            sender = UdpPort(Endpoint("::1", 0))
        except NetworkError as error:
            pytest.skip(str(error))
        with closing(sender):
            sender.send(b"six", sender.target(Endpoint("ff15::77", port.endpoint.port, name)))
            if sender.failed_sends:
                pytest.skip("the system sends nothing to a group over the loopback")
            assert arrived(port) == [b"six"]


def test_the_card_of_a_group_stands_in_its_address() -> None:
    for text in (f"udp://{GROUP}:5004?interface=eth0", "udp://[ff15::77]:5004?interface=2"):
        assert str(parse_endpoint(text)) == text
    assert parse_endpoint(f"{GROUP}:7?interface=192.0.2.1") == Endpoint(GROUP, 7, "192.0.2.1")
    for text in (f"udp://{GROUP}:5004?interface=", f"udp://{GROUP}:5004?ttl=1"):
        with pytest.raises(ConfigError, match="not an endpoint"):
            parse_endpoint(text)
