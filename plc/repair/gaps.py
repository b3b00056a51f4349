"""Gaps of a recording: in seconds as they are given, in samples as they are filled."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plc.engine.spans import merge_spans
from plc.errors import ConfigError


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


def gaps_in_samples(
    gaps_s: Iterable[tuple[float, float]], sample_rate: int, samples: int
) -> list[Gap]:
    """Convert gaps from seconds to samples, merged and in order.

    Parameters
    ----------
    gaps_s : iterable of (float, float)
        Start and end in seconds.
    sample_rate : int
        In Hz.
    samples : int
        Length of the recording; a gap must lie within it.

    Raises
    ------
    ConfigError
        If there is no gap, or one is not two numbers, outside the recording or shorter than a
        sample.
    """
    gaps: list[tuple[int, int]] = []
    for start_s, stop_s in sorted(_as_seconds(gap) for gap in gaps_s):
        places = start_s * sample_rate, stop_s * sample_rate
        # NaN and infinity have no rounded value.
        start, stop = map(round, places) if all(map(math.isfinite, places)) else (-1, -1)
        if start < 0 or stop > samples:
            raise ConfigError(
                f"gap {start_s:g}:{stop_s:g} is outside the recording, which lasts "
                f"{samples / sample_rate:.3f} s"
            )
        if start >= stop:
            raise ConfigError(f"gap {start_s:g}:{stop_s:g} is shorter than a sample")
        gaps.append((start, stop))
    if not gaps:
        raise ConfigError("no gap given; expected at least one START:STOP in seconds")
    return merge_gaps(gaps, samples)


def _as_seconds(gap: tuple[float, float]) -> tuple[float, float]:
    try:
        start_s, stop_s = gap
        return float(start_s), float(stop_s)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"gap is {gap!r}; give (start, stop) in seconds, two numbers") from error


def find_unsound(signal: NDArray[np.float32], gaps: Iterable[tuple[int, int]]) -> int | None:
    """Return the first NaN or infinite sample outside the gaps.

    Parameters
    ----------
    signal : float32, shape (n, channels)
        Samples.
    gaps : iterable of (start, stop)
        In samples.
    """
    unsound: NDArray[np.bool_] = np.logical_not(np.isfinite(signal).all(axis=1))
    for start, stop in gaps:
        unsound[start:stop] = False
    return int(np.argmax(unsound)) if unsound.any() else None
