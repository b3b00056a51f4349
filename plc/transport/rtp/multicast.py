"""Multicast groups: receive from a group, send from a chosen card.

A group's datagrams come only to hosts that have joined it (IGMP, MLD), on the card they joined by.
Several programs of a host may listen to the same group and port.
"""

import contextlib
import socket
import struct
import sys
from collections.abc import Callable
from ipaddress import IPv4Address, ip_address

from plc.errors import NetworkError

# <linux/in.h>, <linux/in6.h>: 0 keeps out what other programs of this host have joined by.
_IP_MULTICAST_ALL = 49
_IPV6_MULTICAST_ALL = 29


def join(
    port: socket.socket, address: tuple[str, int], interface: str | None
) -> Callable[[], None]:
    """Bind a socket to a group and join it; return a function that leaves.

    Parameters
    ----------
    port : socket, not bound yet
    address : tuple of str and int
        The group, numeric, and the port.
    interface : str or None
        The card: its name or, with IPv4, its address; None: the one that the routes say.

    Raises
    ------
    NetworkError
        If there is no such card, or none by which the group can be joined.
    OSError
        If the port is taken.
    """
    host, _, zone = address[0].partition("%")
    group = ip_address(host)
    where: tuple[str, int] | tuple[str, int, int, int] = (host, address[1])
    # As is usual for multicast: that others listen, too, takes nothing from anybody.
    port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if isinstance(group, IPv4Address):
        level, joining, leaving = socket.IPPROTO_IP, "IP_ADD_MEMBERSHIP", "IP_DROP_MEMBERSHIP"
        only_ours = _IP_MULTICAST_ALL
        request = group.packed + _card(interface)
    else:
        level, joining, leaving = socket.IPPROTO_IPV6, "IPV6_JOIN_GROUP", "IPV6_LEAVE_GROUP"
        index = _index(interface or zone)
        only_ours = _IPV6_MULTICAST_ALL
        where = (host, address[1], 0, index)
        request = group.packed + struct.pack("@I", index)
    if sys.platform == "linux":
        # Bound to the group, the socket does not receive what is sent to the port otherwise.
        with contextlib.suppress(OSError):
            port.setsockopt(level, only_ours, 0)
    else:
        where = ("", address[1])
    port.bind(where)
    try:
        port.setsockopt(level, getattr(socket, joining), request)
    except OSError as error:
        by = "the card that the routes say" if interface is None else interface
        raise NetworkError(
            f"cannot join the multicast group {group} by {by}: {error.strerror}; name a card that "
            f"is up, such as udp://{in_url(str(group))}:{address[1]}?interface=eth0"
        ) from error

    def leave() -> None:
        with contextlib.suppress(OSError):
            port.setsockopt(level, getattr(socket, leaving), request)

    return leave


def send_from(port: socket.socket, interface: str) -> None:
    """Let a socket send to groups by that card; raise NetworkError without one."""
    try:
        if port.family == socket.AF_INET6:
            index = struct.pack("@I", _index(interface))
            port.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            return
        card = _card(interface)
        # The structure with an index begins with the group, which does not matter here.
        card = card if len(card) == 4 else bytes(4) + card
        port.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, card)
    except OSError as error:
        if isinstance(error, NetworkError):
            raise
        raise NetworkError(f"cannot send by {interface}: {error.strerror}") from error


def _card(interface: str | None) -> bytes:
    """Return the interface part of an IPv4 membership request."""
    try:
        return IPv4Address(interface or "0.0.0.0").packed
    except ValueError:
        index = _index(interface)
    if sys.platform == "win32":
        return struct.pack("!I", index)  # an address in 0.0.0.0/8 is an index there
    return bytes(4) + struct.pack("@i", index)  # struct ip_mreqn


def _index(interface: str | None) -> int:
    """Return the number of the card with this name; 0, for any card, without a name."""
    if not interface:
        return 0
    if interface.isascii() and interface.isdigit():
        return int(interface)
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        there = ", ".join(name for _, name in socket.if_nameindex())
        raise NetworkError(
            f"there is no network card {interface}; there are {there}, or give an IPv4 address"
        ) from None


def in_url(host: str) -> str:
    """Return a host as URLs write it."""
    return f"[{host}]" if ":" in host else host
