"""Network captures: pcap and pcapng files, down to the UDP datagrams in them.

Only what an RTP stream needs: Ethernet (with VLAN tags), Linux cooked captures of both versions,
raw IP and loopback; IPv4 and IPv6 with UDP. Anything else, and fragments after the first, is
passed over. A file that was cut off in the middle of a packet ends there.

References
----------
.. [1] "PCAP Capture File Format", draft-ietf-opsawg-pcap.
.. [2] "PCAP Now Generic (pcapng) Capture File Format", draft-ietf-opsawg-pcapng.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from plc.errors import TraceError

_PCAP_MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<", 1e-6),
    b"\xa1\xb2\xc3\xd4": (">", 1e-6),
    b"\x4d\x3c\xb2\xa1": ("<", 1e-9),
    b"\xa1\xb2\x3c\x4d": (">", 1e-9),
}
_SECTION, _INTERFACE, _SIMPLE, _ENHANCED = 0x0A0D0D0A, 1, 3, 6
_BYTE_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_TIME_RESOLUTION = 9
_IPV4, _IPV6, _UDP = 0x0800, 0x86DD, 17
_VLAN_TAGS = (0x8100, 0x88A8)
# A capture of hours of audio; more would be held in memory at once.
_BYTES_MAX = 2**31


@dataclass(frozen=True, slots=True)
class Datagram:
    """A UDP datagram.

    Attributes
    ----------
    time_s : float
        When it was captured; NaN where the capture does not say.
    flow : tuple
        Source and destination, addresses and ports.
    payload : bytes
        What it carried, as far as it was captured.
    """

    time_s: float
    flow: tuple[bytes, int, bytes, int]
    payload: bytes


def read_datagrams(path: str | Path) -> Iterator[Datagram]:
    """Yield the UDP datagrams of a capture, in its order.

    Raises
    ------
    TraceError
        If the file cannot be read or is no capture.
    """
    try:
        if Path(path).stat().st_size > _BYTES_MAX:
            raise TraceError(f"{path} is larger than 2 GiB; cut it (editcap -c)")
        data = Path(path).read_bytes()
    except OSError as error:
        raise TraceError(f"cannot read {path}: {error.strerror}") from error
    if data[:4] in _PCAP_MAGICS:
        frames = _pcap_frames(data)
    elif data[:4] == struct.pack(">I", _SECTION):
        frames = _pcapng_frames(data)
    else:
        raise TraceError(f"{path} is neither pcap nor pcapng")
    for time_s, link, frame in frames:
        datagram = _datagram(time_s, link, frame)
        if datagram is not None:
            yield datagram


def _pcap_frames(data: bytes) -> Iterator[tuple[float, int, bytes]]:
    order, tick_s = _PCAP_MAGICS[data[:4]]
    if len(data) < 24:
        return
    link = struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF
    at = 24
    while at + 16 <= len(data):
        seconds, ticks, size, _ = struct.unpack_from(order + "IIII", data, at)
        at += 16
        if at + size > len(data):
            return
        yield seconds + ticks * tick_s, link, data[at : at + size]
        at += size


def _pcapng_frames(data: bytes) -> Iterator[tuple[float, int, bytes]]:
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
        body = data[at + 8 : at + size - 4]
        at += size
        if kind == _INTERFACE and len(body) >= 8:
            interfaces.append((struct.unpack_from(order + "H", body)[0], _tick_s(body[8:], order)))
        elif kind == _ENHANCED and len(body) >= 20:
            number, high, low, captured, _ = struct.unpack_from(order + "IIIII", body)
            if number < len(interfaces):
                link, tick_s = interfaces[number]
                yield ((high << 32) | low) * tick_s, link, body[20 : 20 + captured]
        elif kind == _SIMPLE and len(body) >= 4 and interfaces:
            length = struct.unpack_from(order + "I", body)[0]
            yield float("nan"), interfaces[0][0], body[4 : 4 + length]


def _tick_s(options: bytes, order: str) -> float:
    """Return the unit of an interface's time stamps."""
    at = 0
    while at + 4 <= len(options):
        code, size = struct.unpack_from(order + "HH", options, at)
        if code == 0:
            break
        if code == _TIME_RESOLUTION and size >= 1 and at + 4 < len(options):
            value = options[at + 4]
            return 2.0 ** -(value & 0x7F) if value & 0x80 else 10.0**-value
        at += 4 + size + (-size % 4)
    return 1e-6


def _datagram(time_s: float, link: int, frame: bytes) -> Datagram | None:
    unwrap = _LINKS.get(link)
    inside = unwrap(frame) if unwrap else None
    if inside is None:
        return None
    kind, packet = inside
    udp = _udp_in_ipv4(packet) if kind == _IPV4 else _udp_in_ipv6(packet) if kind == _IPV6 else None
    if udp is None or len(udp[2]) < 8:
        return None
    source, destination, segment = udp
    from_port, to_port, size, _ = struct.unpack_from("!HHHH", segment)
    if size < 8:
        return None
    return Datagram(time_s, (source, from_port, destination, to_port), segment[8:size])


def _in_ethernet(frame: bytes) -> tuple[int, bytes] | None:
    at = 12
    while at + 2 <= len(frame):
        kind = int.from_bytes(frame[at : at + 2], "big")
        if kind not in _VLAN_TAGS:
            return kind, frame[at + 2 :]
        at += 4
    return None


def _in_cooked(frame: bytes) -> tuple[int, bytes] | None:
    return (int.from_bytes(frame[14:16], "big"), frame[16:]) if len(frame) >= 16 else None


def _in_cooked_2(frame: bytes) -> tuple[int, bytes] | None:
    return (int.from_bytes(frame[:2], "big"), frame[20:]) if len(frame) >= 20 else None


def _in_raw(frame: bytes) -> tuple[int, bytes] | None:
    kinds = {4: _IPV4, 6: _IPV6}
    return (kinds.get(frame[0] >> 4, 0), frame) if frame else None


def _in_loopback(frame: bytes) -> tuple[int, bytes] | None:
    return _in_raw(frame[4:])


_LINKS: dict[int, Callable[[bytes], tuple[int, bytes] | None]] = {
    0: _in_loopback,
    1: _in_ethernet,
    12: _in_raw,
    14: _in_raw,
    101: _in_raw,
    108: _in_loopback,
    113: _in_cooked,
    228: _in_raw,
    229: _in_raw,
    276: _in_cooked_2,
}


def _udp_in_ipv4(packet: bytes) -> tuple[bytes, bytes, bytes] | None:
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return None
    head = 4 * (packet[0] & 15)
    fragment = int.from_bytes(packet[6:8], "big") & 0x1FFF
    if packet[9] != _UDP or fragment or head < 20:
        return None
    return packet[12:16], packet[16:20], packet[head:]


def _udp_in_ipv6(packet: bytes) -> tuple[bytes, bytes, bytes] | None:
    if len(packet) < 40 or packet[0] >> 4 != 6 or packet[6] != _UDP:
        return None
    return packet[8:24], packet[24:40], packet[40:]
