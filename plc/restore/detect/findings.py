"""Kinds and places of damage."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from plc.errors import ConfigError, unknown

KINDS = {
    "invalid": "samples that are no numbers: NaN, infinity, or beyond all measure",
    "silence": "sound that is cut off and comes back as suddenly",
    "repeat": "a block that says again what stood before it, once or several times",
    "dropout": "sound that fades away and back within milliseconds",
    "alternate": "single samples, every second to fourth, that are lost among sound ones",
    "click": "an impulse that does not belong to what surrounds it",
    "lost": "packets that a network capture lacks",
}
"""Name to description."""

# Why a place is probably meant to be so.
REGULAR = "recurs regularly"
CHOSEN = "where sounds end and begin"
ALONE = "nothing else sounds"
TONES = "between tones of a generator"
TOO_MUCH = "too much of the recording"
REST = "long rests, and nothing else"
FADED = "faded on both sides"
STEADY = "a tone that goes on"
STUTTER = "a long stutter"
TOO_MANY = "too many of its kind"
LONG = "too long to fill"
ALIKE = "like its neighbours"
UNSURE = "not sure, and nothing certain around"


@dataclass(frozen=True, slots=True)
class Finding:
    """Damage at one place of a recording.

    Attributes
    ----------
    start, stop : int, in samples, stop excluded
    kind : str, one of ``KINDS``
    confidence : float, 0.5 (as likely as not, as the detector sees it) to 1 (certain)
    channels : tuple of int
        Where it was found, from 0 on; empty while one channel is looked at for itself.
    doubt : str
        Why the place is probably meant to be so; empty for damage. Doubtful places are reported,
        not filled.
    parts : tuple of (int, int)
        What is lost between ``start`` and ``stop``; empty where all of it is.
    written : bool, whether a recorder wrote a constant or a few zeros there, which no sound makes
    seam : bool, whether a machine cut a sound there that goes on; it may do so regularly
    stutter : bool
        Whether a long block takes the place of another one: such places make no others seams.
    through : bool
        Whether one sound stands on both sides of a long silence: a rest has other notes behind it.
    """

    start: int
    stop: int
    kind: str
    confidence: float
    channels: tuple[int, ...] = ()
    doubt: str = ""
    parts: tuple[tuple[int, int], ...] = ()
    written: bool = False
    seam: bool = False
    stutter: bool = False
    through: bool = False

    def among(self, channels: int) -> tuple[int, ...]:
        """Return its channels; none where all of a recording's are damaged."""
        return self.channels if len(self.channels) < channels else ()

    @property
    def gaps(self) -> tuple[tuple[int, int], ...]:
        """Return the lost samples, or the whole place."""
        return self.parts or ((self.start, self.stop),)


def runs(marked: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield start and stop of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(np.int8)))
    yield from map(tuple, edges.reshape(-1, 2).tolist())


def sides_of(
    row: NDArray[np.float32], place: Finding, samples: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the samples before and behind a place; fewer at an end of the recording."""
    return row[max(0, place.start - samples) : place.start], row[place.stop : place.stop + samples]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Findings to be listed and filled: they meet all three limits.

    Attributes
    ----------
    kinds : tuple of str, of ``KINDS``; empty for all of them
    min_confidence : float, 0 to 1
    longest_ms : float, longer findings are left out
    doubtful : bool, whether doubtful places are damage, too

    Raises
    ------
    ConfigError
        If there is no such kind, or a number is out of range.
    """

    kinds: tuple[str, ...] = ()
    min_confidence: float = 0.0
    longest_ms: float = math.inf
    doubtful: bool = False

    def __post_init__(self) -> None:
        """Raise for an impossible selection."""
        for kind in self.kinds:
            if kind not in KINDS:
                raise ConfigError(unknown("kind of damage", kind, KINDS))
        if not 0.0 <= self.min_confidence <= 1.0:
            raise ConfigError(f"the least confidence is {self.min_confidence}; give 0 to 1")
        if not self.longest_ms > 0.0:
            raise ConfigError(f"the longest damage is {self.longest_ms} ms; give more than 0")

    def of(self, findings: Iterable[Finding], sample_rate: int) -> tuple[Finding, ...]:
        """Return the findings that are asked for, in their order."""
        longest = self.longest_ms * sample_rate / 1000
        return tuple(
            replace(each, doubt="") if self.doubtful else each
            for each in findings
            if (not self.kinds or each.kind in self.kinds)
            and each.confidence >= self.min_confidence
            and each.stop - each.start <= longest
        )


EVERYTHING = Selection()
