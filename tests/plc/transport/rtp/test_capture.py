"""Captures of networks, whole, cut off and damaged."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from plc.errors import TraceError

pytest.importorskip("dpkt")
from plc.transport.rtp.capture import read_datagrams

# (time in s, UDP payload, source port)
Sent = tuple[float, bytes, int]


def rtp(number: int, step: int = 160, ssrc: int = 7, kind: int = 0, at: int = 0) -> bytes:
    stamp = (at + step * number) % 2**32
    return struct.pack("!BBHII", 0x80, kind, number % 2**16, stamp, ssrc) + b"x" * 160


def stream(numbers: list[int], period_s: float = 0.02, ssrc: int = 7) -> list[Sent]:
    return [(100 + period_s * number, rtp(number, ssrc=ssrc), 5004) for number in numbers]


def ipv4(payload: bytes, port: int) -> bytes:
    udp = struct.pack("!HHHH", port, 6000, 8 + len(payload), 0) + payload
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, b"abcd", b"efgh")
    return head + udp


def ipv6(payload: bytes, port: int) -> bytes:
    udp = struct.pack("!HHHH", port, 6000, 8 + len(payload), 0) + payload
    return struct.pack("!IHBB", 6 << 28, len(udp), 17, 64) + bytes(32) + udp


FRAMES = {
    1: lambda sent: bytes(12) + b"\x08\x00" + ipv4(sent[1], sent[2]),
    101: lambda sent: ipv4(sent[1], sent[2]),
    113: lambda sent: bytes(14) + b"\x08\x00" + ipv4(sent[1], sent[2]),
    276: lambda sent: b"\x86\xdd" + bytes(18) + ipv6(sent[1], sent[2]),
    0: lambda sent: struct.pack("<I", 2) + ipv4(sent[1], sent[2]),
}


def pcap(sent: list[Sent], link: int = 1, order: str = "<", nano: bool = False) -> bytes:
    magic, ticks = (0xA1B23C4D, 1e9) if nano else (0xA1B2C3D4, 1e6)
    out = struct.pack(order + "IHHIIII", magic, 2, 4, 0, 0, 65535, link)
    for one in sent:
        frame = FRAMES[link](one)
        seconds = int(one[0])
        rest = round((one[0] - seconds) * ticks)
        out += struct.pack(order + "IIII", seconds, rest, len(frame), len(frame)) + frame
    return out


def pcapng(sent: list[Sent], order: str = "<") -> bytes:
    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        size = 12 + len(body)
        return struct.pack(order + "II", kind, size) + body + struct.pack(order + "I", size)

    out = block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
    nanoseconds = struct.pack(order + "HHB3xHH", 9, 1, 9, 0, 0)
    out += block(1, struct.pack(order + "HHI", 1, 0, 0) + nanoseconds)
    out += block(5, b"statistics, which nobody asked for")
    for one in sent:
        frame = FRAMES[1](one)
        ticks = round(one[0] * 1e9)
        head = struct.pack(order + "IIIII", 0, ticks >> 32, ticks % 2**32, len(frame), len(frame))
        out += block(6, head + frame)
    return out


def test_a_capture_cut_off_anywhere_does_not_raise(tmp_path: Path) -> None:
    for whole in (pcap(stream(list(range(12)))), pcapng(stream(list(range(12))))):
        path = tmp_path / "cut.pcap"
        for size in range(4, len(whole), 7):
            path.write_bytes(whole[:size])
            for datagram in read_datagrams(path):
                assert datagram.payload[:1] == b"\x80"


@pytest.mark.parametrize("whole", [pcap, pcapng])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_damaged_capture_is_read_or_refused(
    tmp_path: Path, whole: Callable[..., bytes], order: str
) -> None:
    good = whole(stream(list(range(6))), order=order)
    rng = np.random.default_rng(7)
    path = tmp_path / "damaged.pcap"
    for _ in range(500):
        data = bytearray(good)
        for at in rng.integers(4, len(data) if rng.random() < 0.5 else 140, rng.integers(1, 30)):
            data[at] = rng.choice([0, 1, 255, int(rng.integers(256))])
        path.write_bytes(data)
        assert len(list(read_datagrams(path))) <= 6


def test_headers_within_headers_without_end_are_passed_over(tmp_path: Path) -> None:
    isl = b"\x01\x00\x0c\x00\x00" + bytes(21)
    frame = 2500 * isl
    head = struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    record = struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame
    (tmp_path / "deep.pcap").write_bytes(head + record)
    assert list(read_datagrams(tmp_path / "deep.pcap")) == []


def test_interfaces_of_several_kinds_are_read_from_one_capture(tmp_path: Path) -> None:
    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        return struct.pack("<II", kind, 12 + len(body)) + body + struct.pack("<I", 12 + len(body))

    out = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    out += b"".join(block(1, struct.pack("<HHI", link, 0, 0)) for link in (1, 101))
    for number, link in enumerate((1, 101)):
        frame = FRAMES[link]((0.0, rtp(number), 5004))
        out += block(6, struct.pack("<IIIII", number, 0, 5, len(frame), len(frame)) + frame)
    frame = FRAMES[1]((0.0, rtp(2), 5004))
    out += block(3, struct.pack("<I", len(frame)) + frame)
    (tmp_path / "two.pcapng").write_bytes(out)
    found = list(read_datagrams(tmp_path / "two.pcapng"))
    assert [one.payload for one in found] == [rtp(number) for number in range(3)]
    assert [one.time_s for one in found[:2]] == pytest.approx([5e-6, 5e-6])
    assert np.isnan(found[2].time_s)


def test_what_is_no_capture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pcap").write_bytes(b"0101")
    with pytest.raises(TraceError, match="neither pcap nor pcapng"):
        list(read_datagrams(tmp_path / "text.pcap"))
    with pytest.raises(TraceError, match="cannot read"):
        list(read_datagrams(tmp_path / "none.pcap"))
