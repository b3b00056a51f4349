"""Network captures: pcap and pcapng files, down to the UDP datagrams in them.

dpkt reads the headers, restricted to those around RTP: Ethernet (with VLAN tags), Linux cooked
captures of both versions, raw IP and loopback; IPv4 and IPv6 with UDP. The frames of both kinds of
file are walked here: dpkt's readers know one interface only, and believe any length. A file is read
as it goes, whatever its size; what is no whole datagram is counted.
"""

import math
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, BinaryIO

from plc.errors import TraceError
from plc.extras import needed

with needed("a capture needs dpkt", "rtp"):
    import dpkt
    from dpkt import ethernet, ip, ip6, pcapng, sll, sll2, udp

_INTERFACE, _SIMPLE, _ENHANCED = 1, 3, 6
_BYTE_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
# Of pcap: the order of the bytes, and the unit of the times.
_PCAP = {
    struct.pack(order + "I", magic): (order, tick_s)
    for order in "<>"
    for magic, tick_s in ((0xA1B2C3D4, 1e-6), (0xA1B23C4D, 1e-9))
}
_PCAPNG = b"\x0a\x0d\x0d\x0a"
_NO_LINK = -1
_UDP_HEAD = 8
# No frame, nor a block of pcapng, is longer; a length beyond it is forged.
_BYTES_MAX = 1 << 24
_INTERFACES_MAX = 1 << 12
# The year 9999, as far as dates go.
_TIME_MAX_S = 2.5e11
_TOLD_EVERY = 1000
# Raised by dpkt for damaged headers; headers in headers without end exhaust the stack.
_DAMAGE = (dpkt.Error, ValueError, LookupError, struct.error, RecursionError)

Frame = tuple[float, int, bytes]
"""Time in s, type of the link, bytes."""
Address = tuple[str, int]
Progress = Callable[[int, int], object]
"""Called with the bytes read, and those of the file."""


@dataclass(frozen=True, slots=True)
class Datagram:
    """A UDP datagram."""

    time_s: float
    """Time of capture, since 1970; NaN where the capture does not say."""
    flow: tuple[Address, Address]
    """Source and destination, each with address and port."""
    payload: bytes
    """Content, as far as it was captured."""
    is_cut: bool = False
    """Whether there was more: the capture took less of each frame, or IP sent it in fragments."""


def read_datagrams(
    path: str | Path, left_out: Counter[str] | None = None, progress: Progress | None = None
) -> Iterator[Datagram]:
    """Yield the UDP datagrams of a capture, in its order.

    Parameters
    ----------
    path : str or Path, a pcap or pcapng file
    left_out : Counter, optional
        Counts what else there is: ``"other frames"``, ``"fragments"`` behind the first of each
        datagram, ``"damaged frames"``, and ``"cut files"`` (1 if the file's end is missing, or no
        length can be believed from somewhere on).
    progress : callable, optional
        Called now and then with the bytes read and those of the file.

    Raises
    ------
    TraceError
        If the file cannot be read or is not a capture.
    """
    left_out = Counter() if left_out is None else left_out
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            for number, (time_s, link, frame) in enumerate(_frames(path, file, left_out)):
                if progress is not None and number % _TOLD_EVERY == 0:
                    progress(file.tell(), size)
                datagram = _datagram(time_s, link, frame, left_out)
                if datagram is not None:
                    yield datagram
    except OSError as error:
        raise TraceError(f"cannot read {path}: {error.strerror}") from error


def _frames(path: str | Path, file: BinaryIO, left_out: Counter[str]) -> Iterator[Frame]:
    magic = file.read(4)
    if magic in _PCAP:
        return _pcap_frames(file, *_PCAP[magic], left_out)
    if magic == _PCAPNG:
        file.seek(0)
        return _pcapng_frames(file, left_out)
    raise TraceError(f"{path} is {'neither pcap nor pcapng' if magic else 'empty (0 bytes)'}")


def _pcap_frames(
    file: BinaryIO, order: str, tick_s: float, left_out: Counter[str]
) -> Iterator[Frame]:
    """Yield the frames of a pcap file, from behind its first four bytes, up to a cut one."""
    link = None
    if len(head := file.read(20)) == 20:
        link = struct.unpack_from(order + "I", head, 16)[0] & 0xFFFF
        while len(head := file.read(16)) == 16:
            seconds, ticks, captured, _ = struct.unpack(order + "IIII", head)
            frame = file.read(captured) if captured <= _BYTES_MAX else b""
            if len(frame) < captured:
                break
            yield seconds + ticks * tick_s, link, frame
    left_out["cut files"] += bool(head) or link is None


def _pcapng_frames(file: BinaryIO, left_out: Counter[str]) -> Iterator[Frame]:
    order = "<"
    interfaces: list[tuple[int, float]] = []
    while len(block := file.read(12)) == 12:
        if block[:4] == _PCAPNG:
            order = _BYTE_ORDERS.get(block[8:], order)
            interfaces = []
        kind, size = struct.unpack_from(order + "II", block)
        block += file.read(size - 12) if 12 <= size <= _BYTES_MAX else b""
        if len(block) != size:
            break
        if kind == _INTERFACE and len(interfaces) < _INTERFACES_MAX:
            interfaces.append(_interface(block, order))
        elif kind == _ENHANCED and len(block) >= 32:
            number, high, low, captured = struct.unpack_from(order + "IIII", block, 8)
            if number < len(interfaces):
                link, tick_s = interfaces[number]
                yield ((high << 32) | low) * tick_s, link, block[28:-4][:captured]
        elif kind == _SIMPLE and len(block) >= 16 and interfaces:
            (length,) = struct.unpack_from(order + "I", block, 8)
            yield math.nan, interfaces[0][0], block[12:-4][:length]
    left_out["cut files"] += bool(block)


def _interface(block: bytes, order: str) -> tuple[int, float]:
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


def _datagram(time_s: float, link: int, frame: bytes, left_out: Counter[str]) -> Datagram | None:
    """Return the UDP datagram in a frame; None, counted, for other frames."""
    try:
        packet = _LINKS.get(link, bytes)(frame)
        while isinstance(packet, dpkt.Packet) and not isinstance(packet, ip.IP | ip6.IP6):
            packet = packet.data
        inside = getattr(packet, "data", None)
        if isinstance(inside, udp.UDP) and inside.ulen > _UDP_HEAD and inside.data:
            source, target = str(ip_address(packet.src)), str(ip_address(packet.dst))
            size = inside.ulen - _UDP_HEAD
            time_s = time_s if 0.0 <= time_s < _TIME_MAX_S else math.nan
            flow = (source, inside.sport), (target, inside.dport)
            return Datagram(time_s, flow, inside.data[:size], len(inside.data) < size)
    except _DAMAGE:
        left_out["damaged frames"] += 1
        return None
    fragment = getattr(packet, "extension_hdrs", {}).get(ip.IP_PROTO_FRAGMENT)
    is_later = getattr(packet, "offset", 0) or getattr(fragment, "frag_off", 0)
    left_out["fragments" if is_later else "other frames"] += 1
    return None


def _only(base: Any, **inside: Any) -> Any:
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
