"""Traces to compare on, from a capture of RTP.

The stream is the one with the most packets. Its sequence numbers say which
packets there were; those that the capture does not hold are lost, and so are, with a deadline,
those that came too late: a packet is due one deadline after the earliest packet says that it should
have come. A jump of the sequence numbers (another source took over) ends the trace there.

Of the standard set (``bench/traces``), Gilbert-Elliott losses that are the same for everybody, each
file names its seed, and a test makes it again.
"""

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plc.engine.trace_files import write_trace
from plc.errors import TraceError
from plc.transport.rtp.packets import SEQUENCE_BITS, TIMESTAMP_BITS, RtpPacket, Unwrapper, parse_rtp

# Static payload types whose clock is not 8000 Hz: RFC 3551, table 4. Dynamic ones: that of Opus.
_CLOCKS_HZ = {6: 16_000, 10: 44_100, 11: 44_100, 14: 90_000, 16: 11_025, 17: 22_050}
_FIRST_DYNAMIC = 96
_DYNAMIC_HZ = 48_000
# A larger step of the sequence number is another source, no loss: 20 s of packets of 20 ms.
_JUMP_PACKETS = 1000
_LEAST_PACKETS = 10


@dataclass(frozen=True, slots=True)
class Imported:
    """A trace from a capture.

    Attributes
    ----------
    trace : bool, shape (packets,)
        True = lost or late.
    packet_samples : int or None
        Length of a packet on the stream's clock; None where time stamps do not say.
    late : int
        How many of the lost came too late.
    """

    trace: NDArray[np.bool_]
    packet_samples: int | None
    clock_hz: int
    ssrc: int
    late: int
    duplicates: int


def import_capture(
    path: str | Path, ssrc: int | None = None, deadline_ms: float = math.inf
) -> Imported:
    """Return the losses of an RTP stream in a capture.

    Parameters
    ----------
    path : str or Path
        A pcap or pcapng file.
    ssrc : int, optional
        The stream; by default the one with the most packets.
    deadline_ms : float
        How much later than the earliest a packet may come.

    Raises
    ------
    TraceError
        If there is no capture, or no such stream in it.
    MissingExtraError
        If dpkt is not installed.
    """
    from plc.transport.rtp.capture import read_datagrams

    packets = []
    for datagram in read_datagrams(path):
        packet = parse_rtp(datagram.payload)
        if isinstance(packet, RtpPacket):
            packets.append((datagram.time_s, datagram.flow, packet))
    counts = Counter((flow, packet.ssrc) for _, flow, packet in packets)
    if ssrc is not None:
        counts = Counter({key: count for key, count in counts.items() if key[1] == ssrc})
    if not counts or counts.most_common(1)[0][1] < _LEAST_PACKETS:
        which = "RTP stream" if ssrc is None else f"stream of SSRC {ssrc:#010x}"
        raise TraceError(f"{path} holds no {which} of at least {_LEAST_PACKETS} packets")
    chosen = counts.most_common(1)[0][0]
    stream = [(time_s, p) for time_s, flow, p in packets if (flow, p.ssrc) == chosen]
    return _losses(stream, deadline_ms)


def import_trace(source: Path, target: Path, **settings: float | int | None) -> str:
    """Write the losses of a capture as a trace, by the settings of :func:`import_capture`."""
    found = import_capture(source, **settings)  # type: ignore[arg-type]  # forwarded by name
    about = [f"from {source.name}, SSRC {found.ssrc:#010x}, clock {found.clock_hz} Hz"]
    if found.packet_samples:
        length_ms = 1000 * found.packet_samples / found.clock_hz
        about.append(f"each {length_ms:g} ms long; 1 = lost")
    write_trace(target, found.trace, about)
    return (
        f"{target}: {found.trace.size} packets, {int(found.trace.sum())} lost "
        f"({100 * found.trace.mean():.2f} %), {found.late} of them late; "
        f"{found.duplicates} duplicates"
    )


def _losses(stream: list[tuple[float, RtpPacket]], deadline_ms: float) -> Imported:
    numbers, stamps = Unwrapper(SEQUENCE_BITS), Unwrapper(TIMESTAMP_BITS)
    arrivals: dict[int, tuple[float, int]] = {}
    duplicates = 0
    for time_s, packet in stream:
        number = numbers.peek(packet.sequence)
        if numbers.newest is not None and abs(number - numbers.newest) > _JUMP_PACKETS:
            break
        numbers.unwrap(packet.sequence)
        duplicates += number in arrivals
        arrivals.setdefault(number, (time_s, stamps.unwrap(packet.timestamp)))
    first_packet = stream[0][1]
    clock_hz = _clock_hz(first_packet.payload_type)
    late = _late(arrivals, deadline_ms, clock_hz)
    first = min(arrivals)
    trace = np.ones(max(arrivals) - first + 1, np.bool_)
    trace[[number - first for number in arrivals if number not in late]] = False
    return Imported(
        trace, _packet_samples(arrivals), clock_hz, first_packet.ssrc, len(late), duplicates
    )


def _clock_hz(payload_type: int) -> int:
    if payload_type >= _FIRST_DYNAMIC:
        return _DYNAMIC_HZ
    return _CLOCKS_HZ.get(payload_type, 8000)


def _late(arrivals: dict[int, tuple[float, int]], deadline_ms: float, clock_hz: int) -> set[int]:
    transits = {n: time_s - stamp / clock_hz for n, (time_s, stamp) in arrivals.items()}
    known = [transit for transit in transits.values() if math.isfinite(transit)]
    if not known or math.isinf(deadline_ms):
        return set()
    due = min(known) + deadline_ms / 1000
    return {number for number, transit in transits.items() if transit > due + 1e-9}


def _packet_samples(arrivals: dict[int, tuple[float, int]]) -> int | None:
    steps = Counter(
        arrivals[number + 1][1] - arrivals[number][1]
        for number in arrivals
        if number + 1 in arrivals
    )
    step = steps.most_common(1)[0][0] if steps else 0
    return step if step > 0 else None
