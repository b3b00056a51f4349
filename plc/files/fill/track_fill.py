"""Fills of a track's gaps, window by window."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from plc.files.fill.copied import Passages
from plc.files.fill.damaged_edges import widen
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
        """Return the gaps as they are filled in one call: those that begin within a second.

        What a call costs for all gaps around it counts once for these, however many they are.
        """
        how, rate = self.recording.settings, self.recording.sample_rate
        found: list[list[Gap]] = []
        for group in grouped(self.track.gaps, rate, how.quality, how.method):
            if found and group[0].start < found[-1][0].start + rate:
                found[-1] += group
            else:
                found.append(group)
        return found

    def reach(self, group: list[Gap]) -> tuple[int, int]:
        """Return the stretch of the recording that a group is filled from."""
        context, last = self._context, group[-1]
        listen = math.ceil(LISTEN_S * self.recording.sample_rate)
        behind = max(min(context, last.after), min(context, listen))
        return max(0, group[0].start - context), min(last.stop + behind, self.recording.samples)

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
        where, rate = self.track.channels, self.recording.sample_rate
        own = signal[:, where]
        last = first + len(own)
        more = gaps_within(self.track.gaps, group[-1].stop, last)
        later = [(gap.start - first, min(gap.stop, last) - first) for gap in more]
        holes = [(gap.start - first, gap.stop - first) for gap in group]
        earlier = [(max(0, begun - first), ended - first) for begun, ended in self._made]
        beside = [*earlier[-1:], *holes, *later[:1]]
        wide = widen(own, merge_gaps(beside, len(own)), rate)[len(earlier[-1:]) :][: len(holes)]
        if later:
            later[0] = (wide[-1].end, later[0][1])
        passages = self.recording.passages
        signal[:, where] = fill_gaps(
            own,
            rate,
            [gap.span for gap in wide],
            self.recording.settings,
            Around(
                earlier,
                later,
                guides_of(signal, first, self.tracks, where),
                partial(passages.fill, self.track, first) if passages else None,
            ),
        )
        filled = [Gap(*(first + place for place in each)) for each in wide]
        self.filled += filled
        self._made += [gap.span for gap in filled]

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
