"""Gaps of a recording: in seconds as they are given, in samples as they are filled.

A gap may be of some channels only. Channels that are lost at the same places are a track: their
gaps are filled together, and the other tracks are not touched by it.
"""

import math
import operator
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plc.engine.spans import lost_spans, merge_spans
from plc.engine.stream.samples import Packet
from plc.errors import ConfigError
from plc_kernels.signal.packet import INT16_SCALE
from plc_kernels.stream.fill_limit import hold_within
from plc_kernels.stream.layout import GLIDE_MS, SLOT_MS

Stretch = tuple[float, float] | tuple[float, float, tuple[int, ...]]
"""Start and end in seconds; the channels, from 0 on, where not all are lost."""


class Hole(NamedTuple):
    """A lost stretch of some channels, in samples."""

    start: int
    """First sample."""
    stop: int
    """First sample after it."""
    channels: tuple[int, ...] = ()
    """From 0 on; empty means all."""


class Gap(NamedTuple):
    """A gap in samples, and the end of the samples known behind."""

    start: int
    """First sample of the gap."""
    stop: int
    """First sample after it."""
    end: int
    """Start of the next gap, or length of the signal."""

    @property
    def samples(self) -> int:
        """Return the length of the gap."""
        return self.stop - self.start

    @property
    def after(self) -> int:
        """Return the number of samples known after the gap."""
        return self.end - self.stop

    @property
    def span(self) -> tuple[int, int]:
        """Return start and stop."""
        return self.start, self.stop


class Track(NamedTuple):
    """Channels that are lost at the same places."""

    channels: tuple[int, ...]
    """From 0 on, in order."""
    gaps: list[Gap]
    """In order, and apart from each other; none where the channels are intact."""


def tracks_of(holes: Iterable[Hole], samples: int, channels: int) -> list[Track]:
    """Return all channels of a signal in tracks.

    Parameters
    ----------
    holes : iterable of Hole, what is lost, in any order
    samples, channels : int, of the signal

    Raises
    ------
    ConfigError
        If a hole is empty, reaches past the signal or names a channel that it has not.
    """
    spans: list[list[tuple[int, int]]] = [[] for _ in range(channels)]
    for start, stop, where in holes:
        for channel in where or range(channels):
            if not 0 <= channel < channels:
                raise ConfigError(
                    f"gap {start}:{stop} is of channel {channel + 1}; the recording has {channels}"
                )
            spans[channel].append((start, stop))
    alike: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for channel, each in enumerate(spans):
        alike.setdefault(tuple(merge_spans(each, samples)), []).append(channel)
    return [Track(tuple(where), merge_gaps(each, samples)) for each, where in alike.items()]


def holes_of(lost: ArrayLike, samples: int, channels: int, packet_samples: int) -> list[Hole]:
    """Return the lost stretches of a signal, by channel if given so.

    Parameters
    ----------
    lost : bool, shape (packets,) or (samples,), with or without channels, or a sequence of gaps
        As for :func:`~plc.engine.spans.lost_spans`; flags of shape (…, channels) are by channel,
        and so are gaps of (start, stop, channels).
    samples, channels : int, of the signal
    packet_samples : int, of a packet of the trace
    """
    if isinstance(lost, Sequence) and any(
        isinstance(each, Sequence) and len(each) == 3 for each in lost
    ):
        return [_as_hole(each, samples) for each in lost]
    if hasattr(lost, "dtype") and channels > 1 and getattr(lost, "ndim", 0) == 2:
        by_channel = np.asarray(lost)
        if by_channel.dtype == np.bool_ and by_channel.shape[1] == channels:
            return [
                Hole(*span, (channel,))
                for channel, column in enumerate(by_channel.T)
                for span in lost_spans(column, samples, packet_samples)
            ]
    return [Hole(*span) for span in lost_spans(lost, samples, packet_samples)]


def _as_hole(given: Any, samples: int) -> Hole:
    """Return a gap of (start, stop) or (start, stop, channels)."""
    try:
        start, stop, *more = given
        channels = _as_channels(*more)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"gap is {given!r}; give (start, stop) in samples, or (start, stop, channels), such as "
            "(480, 960, (0,))"
        ) from error
    [(start, stop)] = merge_spans([(start, stop)], samples)
    return Hole(start, stop, channels)


def _as_channels(given: Iterable[Any] = ()) -> tuple[int, ...]:
    return tuple(operator.index(channel) for channel in given)


def merge_gaps(gaps: Sequence[tuple[int, int]], samples: int) -> list[Gap]:
    """Return the gaps in order; overlapping and touching ones become one.

    Raises
    ------
    ConfigError
        If a gap is empty or reaches past the ``samples`` there are.
    """
    merged = merge_spans(gaps, samples)
    ends = [start for start, _ in merged[1:]] + [samples]
    # Without gaps the signal still has an end.
    return [Gap(start, stop, end) for (start, stop), end in zip(merged, ends, strict=False)]


def gaps_within(gaps: Sequence[Gap], first: int, last: int) -> Sequence[Gap]:
    """Return the gaps with samples from ``first`` to ``last``."""
    begin = bisect_right(gaps, first, key=attrgetter("stop"))
    return gaps[begin : bisect_left(gaps, last, begin, key=attrgetter("start"))]


def gaps_in_samples(gaps_s: Iterable[Stretch], sample_rate: int, samples: int) -> list[Hole]:
    """Convert gaps from seconds to samples, in order.

    Parameters
    ----------
    gaps_s : iterable of (float, float) or (float, float, channels)
        Start and end in seconds; channels from 0 on where not all are lost.
    sample_rate : int, in Hz
    samples : int
        Length of the recording; a gap must lie within it.

    Raises
    ------
    ConfigError
        If there is no gap, or one is not two numbers, outside the recording or shorter than a
        sample.
    """
    holes: list[Hole] = []
    for start_s, stop_s, channels in sorted(_as_seconds(gap) for gap in gaps_s):
        places = start_s * sample_rate, stop_s * sample_rate
        # NaN and infinity have no rounded value.
        start, stop = map(round, places) if all(map(math.isfinite, places)) else (-1, -1)
        if start < 0 or stop > samples:
            raise ConfigError(
                f"gap {start_s:.10g}:{stop_s:.10g} is outside the recording, which lasts "
                f"{samples / sample_rate:.3f} s ({samples} samples)"
            )
        if start >= stop:
            raise ConfigError(f"gap {start_s:.10g}:{stop_s:.10g} is shorter than a sample")
        holes.append(Hole(start, stop, channels))
    if not holes:
        raise ConfigError("no gap given; expected at least one START:STOP in seconds")
    return holes


def spans_in_samples(
    gaps_s: Iterable[Stretch], sample_rate: int, samples: int, channels: int
) -> tuple[tuple[int, int], ...]:
    """Return the spans lost of any channel, as :func:`gaps_in_samples` and :func:`tracks_of` do."""
    tracks = tracks_of(gaps_in_samples(gaps_s, sample_rate, samples), samples, channels)
    return tuple(merge_spans([gap.span for track in tracks for gap in track.gaps], samples))


def _as_seconds(gap: Stretch) -> tuple[float, float, tuple[int, ...]]:
    try:
        start_s, stop_s, *more = gap
        return float(start_s), float(stop_s), _as_channels(*more)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(
            f"gap is {gap!r}; give (start, stop) in seconds, two numbers, or (start, stop, "
            "channels), such as (1.25, 1.5, (0,))"
        ) from error


def as_rows(signal: Packet) -> NDArray[np.float32]:
    """Return a copy of shape (channels, n), full scale 1.0."""
    rows = np.array(signal.reshape(signal.shape[0], -1).T, np.float32, order="C")
    if signal.dtype == np.int16:
        rows /= np.float32(INT16_SCALE)
    return rows


def find_unsound(signal: NDArray[np.float32], gaps: Iterable[tuple[int, int]]) -> int | None:
    """Return the first NaN or infinite sample outside the gaps.

    Parameters
    ----------
    signal : float32, shape (n, channels), samples
    gaps : iterable of (start, stop), in samples
    """
    unsound: NDArray[np.bool_] = np.logical_not(np.isfinite(signal).all(axis=1))
    for start, stop in gaps:
        unsound[start:stop] = False
    return int(np.argmax(unsound)) if unsound.any() else None


def hold_between(
    sides: Sequence[NDArray[np.float32]], sample_rate: int, gap: NDArray[np.float32]
) -> None:
    """Hold the fill of a recording's gap within the level around it.

    Parameters
    ----------
    sides : sequence of float32, shape (channels, n)
        What is known before and after the gap, and nothing that was filled; a side may be empty.
    sample_rate : int, in Hz
    gap : float32, shape (channels, n), read and written, the fill
    """
    hop = max(1, round(sample_rate * SLOT_MS / 1000.0))
    glide = max(1, round(sample_rate * GLIDE_MS / 1000.0))
    smoothing = -math.expm1(-1.0 / hop)
    for c in range(gap.shape[0]):
        peak = power = 0.0
        for row in (side[c] for side in sides if side.shape[1]):
            powers = np.add.reduceat(np.square(row, dtype=np.float64), np.arange(0, row.size, hop))
            power = max(power, float(powers.max()) / min(hop, row.size))
            peak = max(peak, float(row.max()), -float(row.min()))
        row = np.ascontiguousarray(gap[c])
        state, recent = np.array([1.0, power, 0.0]), np.full(hop, power)
        # As in a stream, packet by packet: one loud place does not turn all of a gap down.
        for part in np.split(row, range(4 * hop, row.size, 4 * hop)):
            hold_within(peak, power, hop, smoothing, glide, state, recent, part)
        gap[c] = row
