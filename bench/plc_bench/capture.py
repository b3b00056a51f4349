"""Network captures: pcap and pcapng files, down to the UDP datagrams in them.

dpkt reads the headers, restricted to those around RTP: Ethernet (with VLAN tags), Linux
cooked captures of both versions, raw IP and loopback; IPv4 and IPv6 with UDP. Other packets, and
fragments after the first, are skipped. The blocks of pcapng are walked here, because dpkt's reader
knows only one interface.
"""

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plc.errors import MissingExtraError, TraceError
from plc.extras import install_command

try:
    import dpkt
    from dpkt import ethernet, ip, ip6, pcapng, sll, sll2, udp
except ImportError as error:
    raise MissingExtraError(f"a capture needs dpkt: {install_command('bench')}") from error

_SECTION, _INTERFACE, _SIMPLE, _ENHANCED = 0x0A0D0D0A, 1, 3, 6
_BYTE_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_NO_LINK = -1
_UDP_HEAD = 8
# A capture of hours of audio; more would be held in memory at once.
_BYTES_MAX = 2**31
# Raised by dpkt for damaged headers; headers in headers without end exhaust the stack.
_DAMAGE = (dpkt.Error, ValueError, LookupError, struct.error, RecursionError)

Frame = tuple[float, int, bytes]
"""Time in s, type of the link, bytes."""


@dataclass(frozen=True, slots=True)
class Datagram:
    """A UDP datagram.

    Attributes
    ----------
    time_s : float
        Time of capture; NaN where the capture does not say.
    flow : tuple
        Source and destination, addresses and ports.
    payload : bytes
        Content, as far as it was captured.
    """

    time_s: float
    flow: tuple[bytes, int, bytes, int]
    payload: bytes


def read_datagrams(path: str | Path) -> Iterator[Datagram]:
    """Yield the UDP datagrams of a capture, in its order.

    Raises
    ------
    TraceError
        If the file cannot be read or is not a capture.
    """
    try:
        if Path(path).stat().st_size > _BYTES_MAX:
            raise TraceError(f"{path} is larger than 2 GiB; cut it (editcap -c)")
        data = Path(path).read_bytes()
    except OSError as error:
        raise TraceError(f"cannot read {path}: {error.strerror}") from error
    if int.from_bytes(data[:4], "big") in dpkt.pcap.MAGIC_TO_PKT_HDR:
        frames = _pcap_frames(data)
    elif data[:4] == struct.pack(">I", _SECTION):
        frames = _pcapng_frames(data)
    else:
        raise TraceError(f"{path} is neither pcap nor pcapng")
    for time_s, link, frame in frames:
        datagram = _datagram(time_s, link, frame)
        if datagram is not None:
            yield datagram


def _pcap_frames(data: bytes) -> Iterator[Frame]:
    """Yield the frames of a pcap file up to a cut header."""
    try:
        reader = dpkt.pcap.Reader(io.BytesIO(data))
        for time_s, frame in reader:
            yield float(time_s), reader.datalink() & 0xFFFF, frame
    except dpkt.Error:
        return


def _pcapng_frames(data: bytes) -> Iterator[Frame]:
    """Yield the frames of a pcapng file up to a cut block."""
    order, at = "<", 0
    interfaces: list[tuple[int, float]] = []
    while at + 12 <= len(data):
        if data[at : at + 4] == struct.pack(">I", _SECTION):
            order = _BYTE_ORDERS.get(data[at + 8 : at + 12], "")
            if not order:
                return
            interfaces = []
        kind, size = struct.unpack_from(order + "II", data, at)
        if size < 12 or at + size > len(data):
            return
        block = data[at : at + size]
        at += size
        if kind == _INTERFACE:
            interfaces.append(_interface(block, order))
        elif kind == _ENHANCED and len(block) >= 32:
            number, high, low, captured = struct.unpack_from(order + "IIII", block, 8)
            if number < len(interfaces):
                link, tick_s = interfaces[number]
                yield ((high << 32) | low) * tick_s, link, block[28:-4][:captured]
        elif kind == _SIMPLE and len(block) >= 16 and interfaces:
            (length,) = struct.unpack_from(order + "I", block, 8)
            yield float("nan"), interfaces[0][0], block[12:-4][:length]


def _interface(block: bytes, order: str) -> tuple[int, float]:
    """Return an interface's link type and its time unit in s."""
    head = pcapng.InterfaceDescriptionBlock
    try:
        found = (pcapng.InterfaceDescriptionBlockLE if order == "<" else head)(block)
    except _DAMAGE:
        return _NO_LINK, 1e-6
    for option in found.opts:
        if option.code == pcapng.PCAPNG_OPT_IF_TSRESOL and option.data:
            value = option.data[0]
            return found.linktype, 2.0 ** -(value & 0x7F) if value & 0x80 else 10.0**-value
    return found.linktype, 1e-6


def _datagram(time_s: float, link: int, frame: bytes) -> Datagram | None:
    """Return the UDP datagram in a frame; None for other frames."""
    try:
        packet = _LINKS.get(link, bytes)(frame)
        while isinstance(packet, dpkt.Packet) and not isinstance(packet, ip.IP | ip6.IP6):
            packet = packet.data
    except _DAMAGE:
        return None
    inside = getattr(packet, "data", None)
    if not isinstance(inside, udp.UDP) or inside.ulen < _UDP_HEAD or not inside.data:
        return None
    flow = (packet.src, inside.sport, packet.dst, inside.dport)
    return Datagram(time_s, flow, inside.data[: inside.ulen - _UDP_HEAD])


def _only(base: Any, **inside: Any) -> Any:
    """Return a parser of dpkt restricted to these inner protocols."""
    return type(base.__name__, (base,), inside)


# A hostile file may hold any of the protocols that dpkt knows.
_Ip, _Ip6 = (_only(one, _protosw={ip.IP_PROTO_UDP: udp.UDP}) for one in (ip.IP, ip6.IP6))
_TYPES = {ethernet.ETH_TYPE_IP: _Ip, ethernet.ETH_TYPE_IP6: _Ip6}


def _raw(frame: bytes) -> Any:
    return {4: _Ip, 6: _Ip6}.get(frame[0] >> 4, bytes)(frame)


_LINKS: dict[int, Callable[[bytes], Any]] = {
    **dict.fromkeys((0, 108), lambda frame: _raw(frame[4:])),
    **dict.fromkeys((12, 14, 101, 228, 229), _raw),
    1: _only(ethernet.Ethernet, _typesw=_TYPES),
    113: _only(sll.SLL, _typesw=_TYPES),
    276: _only(sll2.SLL2, _typesw=_TYPES),
}
