"""Drafts of a gap along the expected contour of a voice's pitch.

A voice's pitch moves by a semitone and more within a burst, and what holds it as it was is soon
out of tune with what comes: after 30 ms its 20th harmonic lies where the 21st should. How the pitch
moved before a gap says about half of how it moves in it (`plc_training.fits.contour` has the
figures). Where samples behind the gap are there already, they say nearly all of the rest: its
contour is the one on which the voice arrives in step with them.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from plc.engine.predict.contour_model import contour_model
from plc.engine.predict.played_history import History
from plc_kernels.signal import contour
from plc_kernels.signal.bridged_gap import lead_in_along
from plc_kernels.signal.predict import Bridge, Predictor, run_on_samples


class ContourBridge:
    """Continues both sides of a gap, of at most so many samples, along the contour between them.

    Raises
    ------
    ModelError
        If the package's network is damaged.
    """

    def __init__(self, sample_rate: int, channels: int, gap: int) -> None:
        self._rate = sample_rate
        samples = gap + run_on_samples(sample_rate)
        self.past_samples, predicted, looked, around = contour.contour_sizes(sample_rate, samples)
        self._model = contour_model()
        width = max(contour.FEATURES, self._model.enter.shape[0], self._model.middle.shape[0])
        self.space = contour.ContourSpace(
            seen=np.zeros(looked, np.float32),
            score=np.zeros(looked, np.float32),
            around=np.zeros(2 * around, np.float32),
            features=np.zeros(contour.FEATURES, np.float32),
            layers=np.zeros((2, width), np.float32),
        )
        self._lines = np.zeros((channels, self.past_samples + predicted), np.float32)
        """The past, and what was predicted of what follows."""
        self._points = np.zeros((channels, contour.POINTS), np.float32)
        self._periods = np.zeros(channels)
        """In samples; 0 where there is no pitch to follow."""
        self._far_line = np.zeros(self._lines.shape[1], np.float32)
        expected, turned = np.zeros((2, contour.POINTS), np.float32)
        self.crossing = contour.CrossingSpace(
            beyond=np.zeros(2 * contour.met_samples(sample_rate), np.float32),
            expected=expected,
            turned=turned,
        )

    @property
    def followed(self) -> tuple[bool, ...]:
        """True if the last gap had a pitch to follow, channel by channel."""
        return tuple(bool(period > 0.0) for period in self._periods)

    def forward(
        self,
        history: History,
        after: NDArray[np.float32],
        predict: Callable[[NDArray[np.float32]], None],
        gap: int,
        out: NDArray[np.float32],
    ) -> None:
        """Write how the near side goes on, through the gap and beyond.

        Parameters
        ----------
        history : History, up to the gap
        after : float32, shape (channels, m), what is known behind it
        predict : callable
            Writes what comes next, shape (channels, n).
        gap : int, its samples
        out : float32, shape (channels, n), written, from the gap's beginning
        """
        known, rate, space = self.past_samples, self._rate, self.space
        for c, line in enumerate(self._lines):
            past = line[:known]
            history.newest(c, past)
            found = self.crossing, past, after[c], gap, self._points[c]
            self._periods[c] = contour.cross(rate, self._model, space, *found)
        ahead = int(contour.contour_sizes(rate, out.shape[1])[1])
        predict(self._lines[:, known : known + ahead])
        for c, period in enumerate(self._periods):
            contour.bend_near(rate, space, self._lines[c], known, period, self._points[c], out[c])

    def lead_in(self, predictor: Predictor, c: int, bridge: Bridge) -> None:
        """Write how a channel's far side leads back into the gap, as :func:`lead_in_along`."""
        spaces = self.space, self.crossing, self._far_line
        lead_in_along(predictor, c, bridge, *spaces, self._periods[c], self._points[c])
