"""The background and the content of a signal, without a stream."""

import numpy as np
from numpy.typing import NDArray

from plc.engine.config import StreamConfig
from plc.engine.memory import StreamMemory
from plc.engine.prediction import StepPrediction
from plc.errors import not_copied
from plc.predict.ladder import Ladders, Rung
from plc_kernels.content import ROW
from plc_kernels.stream import background
from plc_kernels.stream.layout import CONTENT_COUNTS, CONTENT_INPUTS, FLUX_DB
from plc_kernels.stream.start import forget_stream

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
        config = StreamConfig(
            sample_rate=sample_rate, channels=channels, packet_samples=packet, seed=seed
        )
        ladders = Ladders(sample_rate, channels, packet, rungs=(_RUNG, _RUNG))
        self._memory = StreamMemory(config, StepPrediction(ladders, from_onsets=False))
        self._block = self._memory.block

    def reset(self) -> None:
        """Reset all memory."""
        forget_stream(self._block)

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
        """What the content's network took of the last frame, as of :mod:`plc_kernels.content`."""
        inputs: NDArray[np.float32] = self._memory.array(CONTENT_INPUTS)
        return inputs

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
