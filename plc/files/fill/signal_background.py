"""The background and the content of a signal, without a stream."""

import numpy as np
from numpy.typing import NDArray

from plc.engine.predict.ladder import Ladders, Rung
from plc.engine.stream.concealment import StepPrediction
from plc.engine.stream.config import RecordingConfig
from plc.engine.stream.memory import StreamMemory
from plc.errors import not_copied
from plc_kernels.signal.content import LOGIT, ROW
from plc_kernels.stream import background
from plc_kernels.stream.layout import (
    CONTENT_COUNTS,
    CONTENT_INPUTS,
    CONTENT_NUMBERS,
    FLUX_DB,
    FRAME_SAMPLES,
)

LISTEN_S = 8.0
"""Time on either side of a gap by which music is told from speech."""
# Probability of speech up to which it is music alone, and from which on speech alone: content that
# is certain takes one network's time. Either network spoils the other's content.
_MUSIC_UP_TO, _SPEECH_FROM = 0.1, 0.9
# Of a prediction that nobody asks for.
_RUNG = Rung(1.0, 8.0)


class Background:
    """Track every channel's background and the content of a signal.

    What a stream's step does with received samples (:mod:`plc_kernels.stream.background`).

    Parameters
    ----------
    channels, sample_rate, seed : int
        Of the signal, and of the noise.
    """

    __reduce_ex__ = not_copied("make another of the same settings")

    def __init__(self, channels: int, sample_rate: int, seed: int) -> None:
        packet = max(32, sample_rate // 100)
        config = RecordingConfig(
            sample_rate=sample_rate, channels=channels, packet_samples=packet, seed=seed
        )
        ladders = Ladders(sample_rate, channels, packet, rungs=(_RUNG, _RUNG))
        self._memory = StreamMemory(config, StepPrediction(ladders, from_onsets=False))
        self._block = self._memory.block

    @property
    def flux_db(self) -> float:
        """Mean change of the band levels between frames, in dB."""
        return float(self._memory.numbers[FLUX_DB])

    @property
    def unsteady(self) -> bool:
        """True if the last seconds were speech or changed as fast."""
        return bool(background.is_unsteady(self._block))

    @property
    def content(self) -> str:
        """``"speech"`` where the last seconds leave little doubt, else ``"music"``."""
        return "speech" if background.is_speech(self._block) else "music"

    @property
    def inputs(self) -> NDArray[np.float32]:
        """Inputs that :mod:`plc_kernels.signal.content` took of the last frame."""
        inputs: NDArray[np.float32] = self._memory.array(CONTENT_INPUTS)
        return inputs

    @property
    def frame_samples(self) -> int:
        """Samples of a frame, the least that are heard."""
        return int(self._block[FRAME_SAMPLES])

    @property
    def speech_logit(self) -> float:
        """Logit of speech that the content's network gives for the frames so far."""
        return float(self._memory.array(CONTENT_NUMBERS)[LOGIT])

    @property
    def frames(self) -> int:
        """Frames in a row that were heard."""
        return int(self._memory.array(CONTENT_COUNTS)[ROW])

    def interrupt(self) -> None:
        """Drop a half-filled frame; measure no change across a loss."""
        background.interrupt(self._block)

    def listen(self, block: NDArray[np.float32]) -> None:
        """Learn from received samples, shape (channels, n)."""
        rows = np.ascontiguousarray(block, np.float32)
        background.listen(self._block, rows, 0, rows.shape[1])

    def make_noise(self, out: NDArray[np.float32]) -> None:
        """Write comfort noise, shape (channels, n), that continues the noise made before."""
        background.make_noise(self._block, out)


def speech_around(
    row: NDArray[np.float32], received: NDArray[np.bool_], gap: tuple[int, int], sample_rate: int
) -> float:
    """Return how much a gap's surroundings sound like speech: 0 is music, 1 speech.

    The network of streams hears what was received, in order, interrupted where something is lost. A
    stream knows what was said up to now; here the mean of what is said on both sides counts.

    Parameters
    ----------
    row : float32, shape (n,), one channel; finite
    received : bool, shape (n,), which of its samples are heard
    gap : (start, stop)
        In samples of the row; :data:`LISTEN_S` on either side of it counts.
    sample_rate : int, in Hz
    """
    reach = round(LISTEN_S * sample_rate)
    around = slice(max(0, gap[0] - reach), gap[1] + reach)
    row, received = row[around], received[around]
    background = Background(1, sample_rate, 0)
    frame = background.frame_samples
    logits = []
    runs = np.flatnonzero(np.diff(received, prepend=False, append=False)).reshape(-1, 2)
    for start, stop in runs[runs[:, 1] - runs[:, 0] >= frame]:
        background.interrupt()
        for begin in range(start, stop - frame + 1, frame):
            background.listen(row[None, begin : begin + frame])
            if background.frames:
                logits.append(background.speech_logit)
    speech = 1.0 / (1.0 + np.exp(-np.mean(logits))) if logits else 0.5
    return float(np.clip((speech - _MUSIC_UP_TO) / (_SPEECH_FROM - _MUSIC_UP_TO), 0.0, 1.0))
