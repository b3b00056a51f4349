"""Buffers and gaps to packets and back, with time stamps.

A stream's packet is as long as its first buffer, so that where buffers are RTP packets, each is
pushed as it comes, and nothing is held back. What does not come in whole packets waits for its
packet to fill up, and a packet with anything lost in it is lost::

    buffers   |-----|-----|  gap  |-----|-----|        |---|-------|gap|--|
    packets   |-----|-----|-lost--|-----|-----|        |-----|-----|-lost-|

As long as buffers come in whole packets, so do gaps: a jitter buffer estimates how long they are
from when packets come, and is a little off. A gap may be told twice, by ``identity`` that drops a
packet and by the jitter buffer that misses it: what has been filled is not filled again.
"""

from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from plc.embed.stream import EmbeddedConfig, EmbeddedStream
from plc.engine.config import MAX_PACKET_MS, MIN_PACKET_MS, OPEN
from plc.engine.samples import Packet

NANOSECONDS = 1_000_000_000
LATEST_NS = (1 << 64) - 2
"""No buffer or event holds a later stamp: it has none."""
LONGEST_GAP_S = 5.0
"""More than that is not filled at once; by then there is only falling noise left to play."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A packet to play."""

    samples: Packet
    """Shape (packet_samples, channels)."""
    pts: int | None
    """When, in ns."""
    flags: int
    """What it is, as in :class:`~plc.embed.stream.Flag`."""


class BufferTimeline:
    """One stream of buffers and gaps.

    Parameters
    ----------
    config : EmbeddedConfig
        Of the stream; the first buffer decides the length of its packets.
    """

    def __init__(self, config: EmbeddedConfig) -> None:
        self._config = config
        self._rate = config.stream.sample_rate
        self.stream: EmbeddedStream | None = None
        self._stamps: deque[int | None] = deque()
        self._next: int | None = None
        self._filled = 0
        self._spoilt = False
        self.held_back = False
        """Whether a buffer was ever not whole packets."""

    @property
    def packet_samples(self) -> int:
        """Samples of a packet; 0 before the first buffer."""
        return 0 if self.stream is None else self.stream.shape[0]

    @property
    def latency_ns(self) -> int:
        """Time by which the output may come later than the input."""
        packets = self._config.stream.lookahead + self.held_back
        return packets * self.packet_samples * NANOSECONDS // self._rate

    def take(self, samples: Packet, pts: int | None) -> list[Piece]:
        """Take a buffer, shape (n, channels); return the packets to play.

        Parameters
        ----------
        samples : float32 or int16, shape (n, channels)
            In the format of the settings.
        pts : int or None
            When its first sample is due, in ns.
        """
        if samples.shape[0] == 0:
            return []
        if self.stream is None:
            self._open(samples.shape[0])
        return self._advance(samples, samples.shape[0], pts)

    def miss(self, duration_ns: int | None, pts: int | None) -> tuple[list[Piece], int]:
        """Take a gap; return its concealment, and the ns left empty.

        Parameters
        ----------
        duration_ns : int or None
            Of the gap; None: a packet.
        pts : int or None
            When it begins, in ns.
        """
        if self.stream is None:  # nothing has been heard that could go on
            return [], duration_ns or 0
        if pts is not None and duration_ns is not None and self._next is not None:
            told_ns = max(0, self._next - pts)
            duration_ns, pts = max(0, duration_ns - told_ns), pts + told_ns
        size = self.packet_samples
        exact = size if duration_ns is None else duration_ns * self._rate / NANOSECONDS
        samples = round(exact) if self.held_back else round(exact / size) * size
        filled = min(samples, round(LONGEST_GAP_S * self._rate / size) * size)
        left = (samples - filled) * NANOSECONDS // self._rate
        return self._advance(None, filled, pts), left

    def drain(self) -> list[Piece]:
        """Return the samples held back, and begin anew; a partial packet is cut short."""
        stream = self.stream
        if stream is None:
            return []
        size, short = self.packet_samples, self._filled
        pieces = []
        if short:
            self._packet[short:] = 0
            pieces += self._play(None if self._spoilt else self._packet)
        tail = np.empty((stream.tail_samples, stream.shape[1]), stream.config.format.dtype)
        stream.flush(tail)
        # A stream shorter than its lookahead has yet to play the silence that it began with.
        for begin in range(self._skip * size, tail.shape[0], size):
            pieces.append(self._stamped(tail[begin : begin + size], 0))
        if short and pieces:
            pieces[-1] = replace(pieces[-1], samples=pieces[-1].samples[:short])
        self._begin()
        return pieces

    def close(self) -> None:
        """Close the stream."""
        if self.stream is not None:
            self.stream.close()
            self.stream = None

    def _open(self, samples: int) -> None:
        least = shortest_packet(self._rate)
        most = int(MAX_PACKET_MS * self._rate / 1000)
        fits = least <= samples <= most
        size = samples if fits else OPEN
        stream = replace(self._config.stream, packet_samples=size, packet_ms=OPEN)
        self.stream = EmbeddedStream(replace(self._config, stream=stream))
        self._packet = np.zeros(self.stream.shape, self._config.format.dtype)
        self._begin()

    def _begin(self) -> None:
        """Be as new: nothing held, and the silence of the lookahead yet to come."""
        self._stamps.clear()
        self._skip = self._config.stream.lookahead
        self._filled = 0
        self._spoilt = False
        self._next = None

    def _advance(self, samples: Packet | None, count: int, pts: int | None) -> list[Piece]:
        """Add ``count`` samples, lost ones if None; play each full packet."""
        size = self.packet_samples
        pieces: list[Piece] = []
        begin = 0
        while begin < count:
            if not self._filled:
                self._spoilt = False
                self._stamps.append(self._stamp(pts, begin))
                if samples is not None and begin + size <= count:
                    pieces += self._play(samples[begin : begin + size])
                    begin += size
                    continue
            taken = min(size - self._filled, count - begin)
            if samples is None:
                self._spoilt = True
            else:
                self._packet[self._filled : self._filled + taken] = samples[begin : begin + taken]
            self._filled += taken
            begin += taken
            if self._filled == size:
                pieces += self._play(None if self._spoilt else self._packet)
                self._filled = 0
        self.held_back |= bool(self._filled)
        self._next = None if pts is None else pts + count * NANOSECONDS // self._rate
        return pieces

    def _stamp(self, pts: int | None, begin: int) -> int | None:
        base = self._next if pts is None else pts
        if base is None:
            return None
        stamp = base + begin * NANOSECONDS // self._rate
        return stamp if stamp <= LATEST_NS else None

    def _play(self, packet: Packet | None) -> list[Piece]:
        stream = self.stream
        assert stream is not None
        out = np.empty(stream.shape, stream.config.format.dtype)
        flags = stream.push(packet, out)
        if self._skip:
            self._skip -= 1
            return []
        return [self._stamped(out, flags)]

    def _stamped(self, samples: Packet, flags: int) -> Piece:
        return Piece(samples, self._stamps.popleft(), flags)


def shortest_packet(sample_rate: int) -> int:
    """Return the shortest packet that a buffer may be, in samples."""
    return max(32, round(MIN_PACKET_MS * sample_rate / 1000))
