"""The packets that a stream waits for, and their missing parts."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Part(NamedTuple):
    """A run of samples of a packet, arrived or missing."""

    begin: int
    stop: int
    arrived: bool


class PacketQueue:
    """The packet to play next, and ``lookahead`` packets after it.

    Parameters
    ----------
    channels, packet_samples, lookahead : int
        Of the stream.

    Attributes
    ----------
    pushed : int
        Packets added so far.
    playing : sequence of Part
        Parts of the packet whose turn it is.
    position : int
        First sample of that packet in the stream.
    """

    __slots__ = (
        "_lost",
        "_packet_samples",
        "_parts",
        "_samples",
        "_slot",
        "_whole",
        "playing",
        "position",
        "pushed",
    )

    def __init__(self, channels: int, packet_samples: int, lookahead: int) -> None:
        self._packet_samples = packet_samples
        self._samples = np.zeros((lookahead + 1, channels, packet_samples), np.float32)
        self._whole: tuple[Part, ...] = (Part(0, packet_samples, True),)
        self._lost: tuple[Part, ...] = (Part(0, packet_samples, False),)
        self.reset()

    def reset(self) -> None:
        """Drop all packets."""
        self._parts: list[Sequence[Part]] = [self._lost] * len(self._samples)
        self.pushed = 0
        self.playing: Sequence[Part] = self._lost
        self.position = -len(self._samples) * self._packet_samples
        self._slot = 0
        """Place of the oldest packet: it is played next, and the next packet replaces it."""

    @property
    def incoming(self) -> NDArray[np.float32]:
        """Return the memory of the next packet, shape (channels, packet_samples)."""
        samples: NDArray[np.float32] = self._samples[self._slot]
        return samples

    def add(self, arrived: bool, missing: Sequence[tuple[int, int]]) -> bool:
        """Add the packet in :attr:`incoming`; return whether a packet's turn has come.

        Parameters
        ----------
        arrived : bool
            Whether any of it did.
        missing : sequence of (int, int)
            Begin and end of its parts that did not arrive.
        """
        slots = len(self._samples)
        self._parts[self._slot] = self._parts_of(missing) if arrived else self._lost
        self.pushed += 1
        self.position += self._packet_samples
        self._slot = self.pushed % slots
        self.playing = self._parts[self._slot]
        return self.pushed >= slots

    def _parts_of(self, missing: Sequence[tuple[int, int]]) -> Sequence[Part]:
        if not missing:
            return self._whole
        parts: list[Part] = []
        at = 0
        for begin, stop in missing:
            if begin > at:
                parts.append(Part(at, begin, True))
            parts.append(Part(begin, stop, False))
            at = stop
        if at < self._packet_samples:
            parts.append(Part(at, self._packet_samples, True))
        return parts

    def newest(self) -> Sequence[tuple[int, int, NDArray[np.float32] | None]]:
        """Return the parts added last: place in the stream, length, and samples if they arrived."""
        slot = self._slot - 1  # the last place where it is negative
        position = (self.pushed - 1) * self._packet_samples
        parts = self._parts[slot]
        samples = self._samples[slot]
        if parts is self._whole:
            return ((position, self._packet_samples, samples),)
        return [
            (position + begin, stop - begin, samples[:, begin:stop] if arrived else None)
            for begin, stop, arrived in parts
        ]

    def samples_of(self, part: Part) -> NDArray[np.float32]:
        """Return the samples of a part that is playing, shape (channels, n)."""
        samples: NDArray[np.float32] = self._samples[self._slot]
        whole = part is self._whole[0]
        return samples if whole else samples[:, part.begin : part.stop]

    def _from(self, place: int) -> Iterator[tuple[NDArray[np.float32], Part]]:
        """Yield a playing part and all parts after it, with samples."""
        slots = len(self._samples)
        for k in range(slots):
            slot = (self._slot + k) % slots
            for part in self._parts[slot][place if k == 0 else 0 :]:
                yield self._samples[slot][:, part.begin : part.stop], part

    def gap_from(self, place: int) -> int:
        """Return the samples missing from a playing part on; 0 if nothing after them arrived."""
        gap = 0
        for _, part in self._from(place):
            if part.arrived:
                return gap
            gap += part.stop - part.begin
        return 0

    def copy_after(self, place: int, gap: int, out: NDArray[np.float32]) -> int:
        """Copy what arrived right after a gap; return its length.

        Parameters
        ----------
        place : int
            Part of the playing packet that the gap begins with.
        gap : int
            Samples of the gap.
        out : float32, shape (channels, n), written
            Parts are copied as long as they fit.
        """
        known = passed = 0
        for samples, part in self._from(place):
            n = part.stop - part.begin
            passed += n
            if passed <= gap:
                continue
            if not part.arrived or known + n > out.shape[1]:
                break
            out[:, known : known + n] = samples
            known += n
        return known
