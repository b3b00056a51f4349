"""Drafts of a gap that follow the contour which a voice's pitch is expected to take.

A voice's pitch moves by a semitone and more within a burst, and what holds it as it was is soon
out of tune with what comes: after 30 ms its 20th harmonic lies where the 21st should. How the pitch
moved before a gap says about half of how it moves in it (`plc_training.contour` has the figures).
"""

import importlib.resources
import io
import zlib
from collections.abc import Callable
from functools import cache
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from plc.baselines import repeat_period
from plc.errors import ModelError
from plc.history import History
from plc_kernels.contour import (
    FEATURES,
    MOST_BEND,
    PAST_MS,
    POINTS,
    ContourModel,
    bend,
    expect,
    look_back,
    period_around,
    repeat_cycle,
    thin_out,
)

CONTOUR_DRAFTS = ("contour", "ar_contour")
"""How manifests call the drafts that :meth:`PitchContour.draft` writes."""
_FILE = "data/contour.npz"
# The pitch is measured at this rate, or up to twice it: whole numbers of samples become one.
_LOOK_RATE = 16_000
# Cycles less alike than that are no voice's.
VOICED = 0.6
# Around so long after the past's end the period of a draft is measured, and with this share of
# tolerance.
_OWN_AT_MS = 10.0
_OWN_STRAY = 0.1
# For that so much is looked at on either side: half a template and half of the longest period.
_OWN_AROUND_MS = 20.0


class PitchContour:
    """Makes drafts follow the expected contour, channel by channel.

    Where there is no pitch the last cycle is repeated and other drafts are left as they are.

    Parameters
    ----------
    sample_rate, channels : int
        Of the stream.
    samples : int
        Of the longest draft.
    model : ContourModel or None
        What expects the contour; None: the package's.

    Raises
    ------
    ModelError
        If the package's is damaged.
    """

    def __init__(
        self, sample_rate: int, channels: int, samples: int, model: ContourModel | None = None
    ) -> None:
        self._rate = float(sample_rate)
        self._every = max(sample_rate // _LOOK_RATE, 1)
        """Samples that become one to look at."""
        looked = int(sample_rate * PAST_MS / 1000.0) // self._every + 1
        self.past_samples = looked * self._every
        around = round(sample_rate * _OWN_AROUND_MS / 1000.0) // self._every
        self._middle = self.past_samples + round(sample_rate * _OWN_AT_MS / 1000.0)
        wide = self.past_samples + int(samples * MOST_BEND) + 4
        self._lines = np.zeros(
            (channels, max(wide, self._middle + around * self._every)), np.float32
        )
        self._seen = np.zeros(self.past_samples // self._every, np.float32)
        self._score = np.zeros(self._seen.size, np.float32)
        self._around = np.zeros(2 * around, np.float32)
        self._features = np.zeros(FEATURES, np.float32)
        self._model = model or contour_model()
        width = max(FEATURES, self._model.enter.shape[0], self._model.middle.shape[0])
        self._work = np.zeros((2, width), np.float32)
        self._points = np.zeros((channels, POINTS), np.float32)
        self._periods = [0.0] * channels
        """In samples; 0 where there is no pitch."""
        self._lags = [1] * channels
        """In whole samples, where there is no pitch."""

    @property
    def ahead(self) -> int:
        """Samples that are predicted: more than a draft has, as they may be read faster."""
        return self._lines.shape[1] - self.past_samples

    def draft(
        self,
        history: History,
        predict: Callable[[NDArray[np.float32]], None],
        out: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Write both drafts of a gap.

        Parameters
        ----------
        history : History
            The past.
        predict : callable
            Writes what linear prediction says comes next, shape (channels, n).
        out : float32, shape (channels, 2, n), written
            The last cycle, repeated, and the prediction, bent; :data:`CONTOUR_DRAFTS`.

        Returns
        -------
        float32, shape (channels, past samples + n)
            The past and the bent prediction, until the next draft.
        """
        known = self.past_samples
        self._follow(history)
        predict(self._lines[:, known:])
        self._repeat(out[:, 0])
        self._bend(out[:, 1])
        bent = self._lines[:, : known + out.shape[2]]
        bent[:, known:] = out[:, 1]
        return bent

    def _follow(self, history: History) -> None:
        """Look at the past, and expect what comes."""
        look_rate = self._rate / self._every
        first = self.past_samples - self._seen.size * self._every
        for c, line in enumerate(self._lines):
            history.newest(c, line[: self.past_samples])
            thin_out(line[first:], self._every, self._seen)
            period, alike, lag = look_back(self._seen, look_rate, self._score, self._features)
            if alike >= VOICED:
                self._periods[c] = period * self._every
                expect(self._features, self._model, self._work, self._points[c])
            else:
                self._periods[c] = 0.0
                self._lags[c] = self._every * lag

    def _repeat(self, out: NDArray[np.float32]) -> None:
        """Write the last cycle again and again, shape (channels, n)."""
        for c, period in enumerate(self._periods):
            past = self._lines[c, : self.past_samples]
            if period:
                repeat_cycle(past, period, self._points[c], self._rate, out[c])
            else:
                repeat_period(past[None, -self._lags[c] :], 0, out[c : c + 1])

    def _bend(self, out: NDArray[np.float32]) -> None:
        """Write what was predicted as it is when it follows, shape (channels, n)."""
        known = self.past_samples
        first = self._middle - self._around.size // 2 * self._every
        for c, period in enumerate(self._periods):
            line = self._lines[c]
            if not period:
                out[c] = line[known : known + out.shape[1]]
                continue
            thin_out(line[first:], self._every, self._around)
            own, alike = period_around(
                self._around,
                self._around.size // 2,
                period / self._every,
                _OWN_STRAY,
                self._rate / self._every,
                self._score,
            )
            own = own * self._every if alike > 0.0 else period
            bend(line, known, own, period, self._points[c], self._rate, out[c])


@cache
def contour_model() -> ContourModel:
    """Return the network of the package; ``python -m plc_training.contour`` makes it.

    Raises
    ------
    ModelError
        If its file is missing or not sound.
    """
    file = importlib.resources.files("plc").joinpath(_FILE)
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as arrays:
            found = [arrays[name].astype(np.float32) for name in ContourModel._fields]
        model = ContourModel(*found)
        sound = all(np.isfinite(array).all() for array in model) and _fits(model)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        raise ModelError(f"cannot read {file}: {error}; install plc again") from error
    if not sound:
        raise ModelError(f"{file} is not a network that expects a pitch; install plc again")
    return model


def _fits(model: ContourModel) -> bool:
    """Tell whether one layer's output is the next one's input."""
    wide, narrow = model.enter_bias.size, model.middle_bias.size
    matrices = ((wide, FEATURES), (wide,), (narrow, wide), (narrow,), (POINTS, narrow), (POINTS,))
    return [array.shape for array in model] == [(FEATURES,), (FEATURES,), *matrices]
