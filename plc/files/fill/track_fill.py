"""Fills of a track's gaps, window by window."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from plc.files.fill.copied import Passages
from plc.files.fill.damaged_edges import intact_part
from plc.files.fill.gaps import Gap, Hole, Track, gaps_within, merge_gaps
from plc.files.fill.interpolate import refinable, refines
from plc.files.fill.joint import grouped
from plc.files.fill.signal_background import LISTEN_S
from plc.files.fill.signals import Around, FillSettings, fill_gaps, guides_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A recording, and how its gaps are filled."""

    source: str
    sample_rate: int
    samples: int
    settings: FillSettings
    passages: Passages | None = None
    """What long gaps are filled with."""


class TrackFill:
    """Fills of one track, in order of their places.

    Parameters
    ----------
    track : Track, what is lost
    tracks : sequence of Track, all of the recording
    recording : Recording, of it
    """

    def __init__(self, track: Track, tracks: Sequence[Track], recording: Recording) -> None:
        self.track, self.tracks, self.recording = track, tracks, recording
        self.filled: list[Gap] = []
        self._made: deque[tuple[int, int]] = deque()
        self._context = math.ceil(recording.settings.context_s * recording.sample_rate)

    def groups(self) -> list[list[Gap]]:
        """Return the gaps as they are filled together."""
        how = self.recording.settings
        return grouped(self.track.gaps, self.recording.sample_rate, how.quality, how.method)

    def reach(self, group: list[Gap]) -> tuple[int, int]:
        """Return the stretch of the recording that a group is filled from."""
        gap, context = _whole(group), self._context
        listen = math.ceil(LISTEN_S * self.recording.sample_rate)
        behind = max(min(context, gap.after), min(context, listen))
        return max(0, gap.start - context), min(gap.stop + behind, self.recording.samples)

    def fill(self, signal: NDArray[np.float32], first: int, group: list[Gap]) -> None:
        """Fill a group.

        Parameters
        ----------
        signal : float32, shape (n, channels), written in the gaps
            The recording from ``first`` on, as far as :meth:`reach` says; all channels.
        first : int, place of its first sample
        group : list of Gap, one of :meth:`groups`, in order
        """
        while self._made and self._made[0][1] <= first:
            self._made.popleft()
        where = self.track.channels
        own = signal[:, where]
        last = first + len(own)
        more = gaps_within(self.track.gaps, group[-1].stop, last)
        later = [(gap.start - first, min(gap.stop, last) - first) for gap in more]
        holes = [(gap.start - first, gap.stop - first) for gap in group]
        earlier = [(max(0, begun - first), ended - first) for begun, ended in self._made]
        wide = self._widened(own, first, group, earlier, bool(later))
        if later:
            later[0] = (wide.end, later[0][1])
        holes[0] = (wide.start, holes[0][1])
        holes[-1] = (holes[-1][0], wide.stop)
        passages = self.recording.passages
        signal[:, where] = fill_gaps(
            own,
            self.recording.sample_rate,
            holes,
            self.recording.settings,
            Around(
                earlier,
                later,
                guides_of(signal, first, self.tracks, where),
                partial(passages.fill, self.track, first) if passages else None,
            ),
        )
        self.filled += [
            Gap(*(first + place for place in each)) for each in merge_gaps(holes, wide.end)
        ]
        self._made += [(first + start, first + stop) for start, stop in holes]

    def holes(self) -> list[Hole]:
        """Return the filled places."""
        return [Hole(*gap.span, self.track.channels) for gap in self.filled]

    def damaged_samples(self) -> int:
        """Count the received samples beside gaps that counted as lost."""
        gaps = self.track.gaps
        return sum(gap.samples for gap in self.filled) - sum(gap.samples for gap in gaps)

    def refined(self) -> int | None:
        """Count the gaps that are interpolated; None if the settings choose another way to fill."""
        how = self.recording.settings
        if how.invents or not refines(how.quality, how.method):
            return None
        passages = self.recording.passages
        told = passages.told if passages else []
        copied = {(gap.start, gap.channels) for gap in told if gap.copied_from is not None}
        gaps = [gap for gap in self.filled if (gap.start, self.track.channels) not in copied]
        groups = grouped(gaps, self.recording.sample_rate, how.quality, how.method)
        return sum(
            len(each) for each in groups if len(each) > 1 or refinable(each[0], each[0].start)
        )

    def _widened(
        self,
        own: NDArray[np.float32],
        first: int,
        group: list[Gap],
        earlier: Sequence[tuple[int, int]],
        more: bool,
    ) -> Gap:
        """Return a group's stretch with the damaged samples beside it.

        Its end is that of what is intact behind it.
        """
        rate, gap = self.recording.sample_rate, _whole(group)
        known = own[: min(gap.end - first, len(own))]
        begin = earlier[-1][1] if earlier else 0
        _, start = intact_part(known, begin, gap.start - first, rate, (False, True))
        behind = intact_part(known, gap.stop - first, len(known), rate, (True, more))
        return Gap(start, *behind)


def _whole(group: list[Gap]) -> Gap:
    """Return the stretch from the first gap to the last."""
    return Gap(group[0].start, *group[-1][1:])
