"""Drafts of a gap, for streams, files and training alike.

A draft is one filling of a gap by prediction. A model's manifest names the drafts that it was
trained on; the objects here write them into the rows that become its spectra
(:mod:`plc.networks.spectra`). Training writes its segments with the same objects, so a network
meets in a stream what it was trained on.

=============================  ====================  ===========================================
names in the manifest          object                where
=============================  ====================  ===========================================
ar                             PredictionDraft       bursts of a stream
pitch, ar                      PitchDraft            bursts of a stream
contour, ar_contour            ContourDraft          bursts of speech
passages, joined               PassageDraft          bursts of music
forward, backward, bridge      BridgeDraft           gaps of a stream with lookahead
contour_forward, …_bridge      BridgeDraft           the same, of speech
forward, …, interpolated       TwoSidedDraft         gaps of files
=============================  ====================  ===========================================
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from plc.errors import ConfigError
from plc.networks.flat import BRIDGE_DRAFTS, MUSIC_DRAFTS, SPEECH_DRAFTS
from plc.predict.baselines import Baseline
from plc.predict.contour import ContourBridge, PitchContour
from plc.predict.history import History
from plc.predict.linear import ArFiller, Sides
from plc.predict.passages import Passages, draft_from
from plc.predict.sides import bridged_along_the_pitch, continued
from plc.predict.similar import REACH_S, SimilarPassages, find_passages
from plc_kernels.bridge import draw_up

Found = dict[tuple[int, int], SimilarPassages | None]
"""By a gap's start and stop: the passages like its surroundings, or none."""


class Draft:
    """Draws up a gap for a network.

    Attributes
    ----------
    names : tuple of str
        As in manifests; the last is what a network improves on.
    past_samples : int
        Samples of history that it reads, besides those of the rows.
    ahead : int
        Samples of linear prediction that it takes.
    """

    names: tuple[str, ...]
    past_samples: int = 0
    ahead: int

    def played(self, block: NDArray[np.float32]) -> None:
        """Take in a block that was played, shape (channels, n), C-contiguous."""


class BurstDraft(Draft, ABC):
    """Draws up a burst, of which only the past is known.

    Parameters
    ----------
    stream : (int, int, int)
        Sample rate, channels and samples of a packet.
    past, ahead : int
        Samples of a row before the gap, and from its beginning on.

    Raises
    ------
    ConfigError
        If no such draft is as long.
    """

    def __init__(self, stream: tuple[int, int, int], past: int, ahead: int) -> None:
        self._past = past
        self.ahead = ahead

    @abstractmethod
    def write(self, history: History, ar: ArFiller, rows: NDArray[np.float32]) -> None:
        """Write the rows of a gap; ``ar`` then goes on from the end of the last draft.

        Parameters
        ----------
        history : History
            What was played before the gap.
        ar : ArFiller
            That has begun the burst.
        rows : float32, shape (channels, drafts, past + ahead), written
        """

    def _write_past(self, history: History, rows: NDArray[np.float32]) -> None:
        """Write the newest samples before the gap of every row."""
        for c, channel in enumerate(rows):
            history.newest(c, channel[-1, : self._past])
            channel[:-1, : self._past] = channel[-1, : self._past]


class PredictionDraft(BurstDraft):
    """Linear prediction alone, in each row."""

    names = ("ar",)

    def write(self, history: History, ar: ArFiller, rows: NDArray[np.float32]) -> None:
        """As :meth:`BurstDraft.write`."""
        self._write_past(history, rows)
        ar.extend(rows[:, -1, self._past :])
        rows[:, :-1, self._past :] = rows[:, -1:, self._past :]


class PitchDraft(BurstDraft):
    """The last pitch period repeated, and linear prediction."""

    names = ("pitch", "ar")

    def __init__(self, stream: tuple[int, int, int], past: int, ahead: int) -> None:
        super().__init__(stream, past, ahead)
        sample_rate, channels, packet_samples = stream
        self._pitch = Baseline("pitch", sample_rate, packet_samples)
        self._known = np.zeros((channels, self._pitch.past_samples), np.float32)
        self.past_samples = self._pitch.past_samples

    def write(self, history: History, ar: ArFiller, rows: NDArray[np.float32]) -> None:
        """As :meth:`BurstDraft.write`."""
        self._write_past(history, rows)
        for c, known in enumerate(self._known):
            history.newest(c, known)
        rows[:, 0, self._past :] = self._pitch.go_on(self._known, rows.shape[2] - self._past)
        ar.extend(rows[:, 1, self._past :])


class ContourDraft(BurstDraft):
    """The repeated pitch cycle and prediction, along the expected pitch contour."""

    names = SPEECH_DRAFTS

    def __init__(self, stream: tuple[int, int, int], past: int, ahead: int) -> None:
        super().__init__(stream, past, ahead)
        sample_rate, channels, _ = stream
        self._contour = PitchContour(sample_rate, channels, ahead)
        self.ahead = self._contour.ahead
        self.past_samples = self._contour.past_samples

    def write(self, history: History, ar: ArFiller, rows: NDArray[np.float32]) -> None:
        """As :meth:`BurstDraft.write`."""
        self._write_past(history, rows)
        ar.resume(self._contour.draft(history, ar.extend, rows, self._past))


class PassageDraft(BurstDraft):
    """Similar passages of the past summed, and prediction driven by them."""

    names = MUSIC_DRAFTS

    def __init__(self, stream: tuple[int, int, int], past: int, ahead: int) -> None:
        super().__init__(stream, past, ahead)
        sample_rate, channels, _ = stream
        self._passages = Passages(sample_rate, channels, past, ahead)
        self.past_samples = self._passages.past_samples

    def write(self, history: History, ar: ArFiller, rows: NDArray[np.float32]) -> None:
        """As :meth:`BurstDraft.write`."""
        self._write_past(history, rows)
        draft_from(self._passages, history, ar, rows)

    def played(self, block: NDArray[np.float32]) -> None:
        """As :meth:`Draft.played`."""
        self._passages.listen(block)


class BridgeDraft(Draft):
    """Draws up a gap of a stream whose end has arrived.

    Parameters
    ----------
    stream : (int, int, int)
        Sample rate, channels and samples of a packet.
    past, samples : int
        Samples of a row before the gap, and of the whole row.
    horizon, reach : int
        Samples of the longest gap for the network, and of the longest bridge.
    follows : bool
        Whether both sides follow the contour of a voice's pitch through the gap.
    """

    PLAIN = ("forward", "backward", "bridge")
    ALONG_THE_PITCH = BRIDGE_DRAFTS

    def __init__(
        self,
        stream: tuple[int, int, int],
        past: int,
        samples: int,
        horizon: int,
        reach: int,
        follows: bool,
    ) -> None:
        sample_rate, channels, _ = stream
        self.names = self.ALONG_THE_PITCH if follows else self.PLAIN
        self.ahead = samples - past
        self._past = past
        self._contour = ContourBridge(sample_rate, channels, horizon) if follows else None
        self.past_samples = self._contour.past_samples if self._contour else 0
        self._sides = Sides(
            *(np.zeros((channels, n), np.float32) for n in (reach, reach, self.ahead))
        )

    def bridge(
        self,
        ar: ArFiller,
        forward: Callable[[NDArray[np.float32]], None],
        history: History,
        after: NDArray[np.float32],
        out: NDArray[np.float32],
        whole: bool,
    ) -> bool:
        """Build the bridge of linear prediction, and keep both sides.

        Parameters
        ----------
        ar, forward, history, after, out
            As for :meth:`ArFiller.bridge_from`; the gap is at most ``reach``.
        whole : bool
            Whether nothing of the burst was played before, and the gap is one for the network.
            Else no contour is followed: what was played is not in step with what follows.

        Returns
        -------
        bool
            Whether a bridge was built.
        """
        contour = self._contour if whole else None
        return ar.bridge_from(forward, history, after, out, self._sides, contour)

    def write(
        self,
        history: History,
        after: NDArray[np.float32],
        out: NDArray[np.float32],
        rows: NDArray[np.float32],
    ) -> None:
        """Write the rows of a gap.

        Parameters
        ----------
        history : History
            Up to the gap.
        after : float32, shape (channels, m)
            What arrived right after it.
        out : float32, shape (channels, n)
            The bridge that :meth:`bridge` built.
        rows : float32, shape (channels, 3, samples), written
        """
        sides, ring, position = self._sides, history.ring, history.position
        for c, channel in enumerate(rows):
            behind = after[c], sides.beyond[c]
            draft = sides.forward[c], sides.backward[c], out[c]
            draw_up(ring[c], position, *draft, *behind, self._past, channel)


class TwoSidedDraft:
    """Draws up a gap of a file, with both sides known.

    Parameters
    ----------
    names : sequence of str
        Of :attr:`KNOWN`, as in manifests; the last is ``interpolated``.
    sample_rate : int
        In Hz.
    past : int
        Samples of a row before the gap.
    reach_s : float
        Time around a gap that is searched for similar passages.

    Raises
    ------
    ConfigError
        If a name is unknown or the last is another.
    """

    KNOWN = ("forward", "backward", "similar", "contour", "interpolated")
    """Each side continued; similar passages summed; both sides along a voice's pitch contour; and
    the gap as it is filled so far, which stands in for a draft that cannot be made."""

    def __init__(
        self, names: Sequence[str], sample_rate: int, past: int, reach_s: float = REACH_S
    ) -> None:
        if not set(names) <= set(self.KNOWN) or tuple(names[-1:]) != self.KNOWN[-1:]:
            raise ConfigError(
                f"drafts are {', '.join(names) or 'none'}; known: {', '.join(self.KNOWN)}, the "
                "last of them last"
            )
        self.names = tuple(names)
        self._rate = sample_rate
        self._past = past
        self._reach = round(reach_s * sample_rate)

    def alike(
        self,
        signal: NDArray[np.float32],
        start: int,
        stop: int,
        samples: int,
        found: Found | None = None,
    ) -> NDArray[np.float32] | None:
        """Return the row that similar passages of a signal make; None if there are none.

        Parameters
        ----------
        signal : float32, shape (n,)
            Known but for the gap, which may hold anything finite.
        start, stop : int
            The gap.
        samples : int
            Of the row.
        found : dict or None
            Keeps the passages of each gap, for another object on the same signal.

        Returns
        -------
        float32, shape (samples,), or None
        """
        found = {} if found is None else found
        low = max(0, start - self._reach)
        seen = signal[low : stop + self._reach]
        if (start, stop) not in found:
            found[start, stop] = find_passages(seen, start - low, stop - low, self._rate)
        passages = found[start, stop]
        first = start - self._past - low
        return None if passages is None else passages.line(seen, first, first + samples)

    def write(
        self,
        before: NDArray[np.float32],
        after: NDArray[np.float32],
        gap: int,
        alike: NDArray[np.float32] | None,
        rows: NDArray[np.float32],
    ) -> None:
        """Write the drafts into rows that hold the signal and a fill.

        Parameters
        ----------
        before, after : float32, shape (n,) and (m,)
            What the drafts continue.
        gap : int
            Samples of the gap.
        alike : float32, shape (samples,), or None
            As :meth:`alike` returns it.
        rows : float32, shape (drafts, samples), written
        """
        hole = slice(self._past, self._past + gap)
        for row, name in zip(rows, self.names, strict=True):
            if name == "forward":
                row[hole] = continued(before, gap, self._rate)
            elif name == "backward":
                row[hole] = continued(after[::-1], gap, self._rate)[::-1]
            elif name == "similar" and alike is not None:
                row[:] = alike
            elif name == "contour":
                bridged = bridged_along_the_pitch(before, after, gap, self._rate)
                if bridged is not None:
                    row[hole] = bridged


CAUSAL_DRAFTS: dict[tuple[str, ...], type[BurstDraft]] = {
    draft.names: draft for draft in (PredictionDraft, PitchDraft, ContourDraft, PassageDraft)
}
"""What draws up the drafts of a model of kind ``causal``, by their names."""
