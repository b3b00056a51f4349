"""The background of a stream, and its content: speech or music."""

import math

import numpy as np
from numpy.typing import NDArray

from plc.limits import MUSIC_RATE
from plc.predict.content import STREAM_MODEL
from plc_kernels.content import (
    BINS,
    FEATURES,
    MEMORY_FRAMES,
    ContentState,
    content_features,
    follow_content,
    logit,
)
from plc_kernels.noise import POWERS, NoiseState, comfort_noise, frame_samples, track_noise

# Change of the band levels between frames, in dB, averaged as below: most moments of speech are
# above, few of music (docs/notebook.md).
_UNSTEADY_DB = 3.7
SPEECH_FROM = 0.8
"""Probability from which on it is speech: a network for speech spoils music, while its absence
does speech little harm."""
MUSIC_RATE_SPEECH_FROM = 0.9
"""The same at rates from :data:`MUSIC_RATE` on, where most streams are music."""
# Until half a second was loud, where hardly any frames follow each other, and below 16 kHz, where
# half of the features are missing, the change of the band levels alone tells speech.
_SPEECH_DB = 4.2
_LEAST_LOUD_FRAMES = 25
_LEAST_CHANGES = 5
# The change is averaged over 2 s. Before anything was heard the average stands a little below the
# limit, with the weight of a few frames.
_PRIOR_FRAMES = 5
_PRIOR_DB = 3.6
# An outage that lasts is no longer covered up: after 3 s the noise falls by 6 dB a second, to
# -40 dB. By then the background may be another, and a dense chord in the floor should not drone.
_NOISE_HOLD_S = 3.0
_NOISE_FALL_DB_PER_S = 6.0
_NOISE_END_DB = -40.0


class Background:
    """Track every channel's background and the content of the stream.

    Frames are cut from the received samples regardless of packets, so that the same samples in
    packets of another size give the same state.

    Parameters
    ----------
    channels, sample_rate, seed : int
        Of the stream, and of the noise.
    """

    __slots__ = (
        "_content",
        "_features",
        "_fill",
        "_flux_db",
        "_flux_frames",
        "_frame",
        "_half",
        "_half_s",
        "_made",
        "_noise",
        "_noise_s",
        "_powers",
        "_seed",
        "_speech_logit",
        "_states",
    )

    def __init__(self, channels: int, sample_rate: int, seed: int) -> None:
        n = frame_samples(sample_rate)
        self._seed = seed
        first = NoiseState.allocate(sample_rate, seed)
        others = (NoiseState.allocate(sample_rate, seed + c, first) for c in range(1, channels))
        self._states = [first, *others]
        self._content = ContentState.allocate()
        self._features = np.zeros(len(FEATURES))
        self._powers = np.zeros_like(first.levels[POWERS])
        self._frame = np.zeros((channels, n), np.float32)
        self._noise = np.zeros((channels, n // 2), np.float32)
        self._half = n // 2
        self._half_s = self._half / sample_rate
        least = SPEECH_FROM if sample_rate < MUSIC_RATE else MUSIC_RATE_SPEECH_FROM
        self._speech_logit = math.log(least / (1.0 - least))
        self._noise_s = 0.0
        self._fill = 0
        self._made = self._half
        self._flux_db = _PRIOR_DB
        self._flux_frames = _PRIOR_FRAMES

    def reset(self) -> None:
        """Reset all memory."""
        for c, state in enumerate(self._states):
            state.reset(self._seed + c)
        self._content.reset()
        self._noise_s = 0.0
        self._fill = 0
        self._made = self._half
        self._flux_db = _PRIOR_DB
        self._flux_frames = _PRIOR_FRAMES

    @property
    def flux_db(self) -> float:
        """Mean change of the band levels between frames, in dB."""
        return self._flux_db

    @property
    def unsteady(self) -> bool:
        """Whether the last seconds were speech or changed as fast."""
        return self._flux_db > _UNSTEADY_DB or self.content == "speech"

    @property
    def content(self) -> str:
        """``"speech"`` where the last seconds leave little doubt, else ``"music"``."""
        features = self.features
        if features is None:
            return "speech" if self._flux_db > _SPEECH_DB else "music"
        return "speech" if logit(STREAM_MODEL, features) > self._speech_logit else "music"

    @property
    def features(self) -> NDArray[np.float64] | None:
        """Features that tell speech from music, shape (9,); None: too little yet.

        They are good until asked again.

        In the order of :data:`plc_kernels.content.FEATURES`.
        """
        heard = self._content
        few = heard.counts[1] < _LEAST_LOUD_FRAMES or heard.counts[2] < _LEAST_CHANGES
        if self._powers.size < BINS or few:
            return None
        content_features(heard.averages, self._flux_db, self._features)
        return self._features

    def interrupt(self) -> None:
        """Drop a half-filled frame; measure no change across a loss."""
        self._fill = 0
        self._content.interrupt()

    def listen(self, block: NDArray[np.float32]) -> None:
        """Learn from received samples, shape (channels, n)."""
        self._noise_s = 0.0
        done = 0
        size = self._frame.shape[1]
        while done < block.shape[1]:
            take = min(size - self._fill, block.shape[1] - done)
            self._frame[:, self._fill : self._fill + take] = block[:, done : done + take]
            self._fill += take
            done += take
            if self._fill == size:
                self._fill = 0
                self._analyse()

    def _analyse(self) -> None:
        flux_db = -1.0
        self._powers.fill(0.0)
        for c, state in enumerate(self._states):
            state.frame[:] = self._frame[c]
            track_noise(state)
            flux_db = max(flux_db, float(state.flux[0]))
            self._powers += state.levels[POWERS]
        if self._powers.size >= BINS:
            heard = self._content
            follow_content(self._powers, heard.averages, heard.logs, heard.counts)
        if flux_db >= 0.0:
            self._flux_frames = min(self._flux_frames + 1, MEMORY_FRAMES)
            self._flux_db += (flux_db - self._flux_db) / self._flux_frames

    def make_noise(self, out: NDArray[np.float32]) -> None:
        """Write comfort noise, shape (channels, n), that continues the noise made before."""
        done = 0
        while done < out.shape[1]:
            if self._made == self._half:
                self._make_half_frame()
            take = min(self._half - self._made, out.shape[1] - done)
            out[:, done : done + take] = self._noise[:, self._made : self._made + take]
            self._made += take
            done += take

    def _make_half_frame(self) -> None:
        self._made = 0
        fall_db = _NOISE_FALL_DB_PER_S * max(0.0, self._noise_s - _NOISE_HOLD_S)
        level = 10.0 ** (max(-fall_db, _NOISE_END_DB) / 20.0)
        self._noise_s += self._half_s
        for state, noise in zip(self._states, self._noise, strict=True):
            comfort_noise(level, state, noise)
