"""Gaps of speech in files, filled as streams that wait fill them.

The networks of streams were trained on the short and frequent gaps of lost packets and by judges of
whole clips; the two-sided one (:mod:`plc.networks.files.inpaint`) on single gaps and by the
distance to the truth. So a gap of speech gets what a stream with enough lookahead would play,
without its fades::

    |~~~ known ~~~|-- continued: causal network --|-- bridged: network for bridges --|~~~ known ~~~|
                                                  |<---- at most its horizon ------->|
"""

import numpy as np
from numpy.typing import NDArray

from plc.models.manifest import Manifest
from plc.networks.streams.filler import NetworkFiller
from plc.networks.streams.served import StreamContext
from plc.predict.filler import Moment
from plc.predict.history import History
from plc_kernels.predict import LEAST_KNOWN

# Of what follows a gap no more is looked at: the bridge's predictor is fitted to less.
_AFTER_S = 0.5
# So much of a gap is continued at most, before the rest is bridged.
_CONTINUED_MS = 60.0


class SpokenGaps:
    """The networks of streams of speech at work on gaps of files.

    Parameters
    ----------
    causal, bridge : Manifest
        Models of those kinds.
    sample_rate : int
        In Hz.

    Attributes
    ----------
    horizon : int
        Samples of the longest gap that is bridged as a whole.

    Raises
    ------
    ConfigError, ModelError, MissingExtraError
        If a model is not for this, is not sound, or ONNX Runtime is not installed.
    """

    def __init__(self, causal: Manifest, bridge: Manifest, sample_rate: int) -> None:
        self.horizon = bridge.horizon_samples(sample_rate)
        continued = round(sample_rate * _CONTINUED_MS / 1000.0)
        self._longest = self.horizon + min(causal.horizon_samples(sample_rate), continued)
        self._after = round(_AFTER_S * sample_rate)
        self._filler = NetworkFiller(
            StreamContext(sample_rate, 1, self.horizon, reach=self._after),
            {"speech": causal},
            {"speech": bridge},
        )
        self._least = max(served.gap.gap_start for served in self._filler.networks)
        self._fill = np.zeros((1, self._longest), np.float32)

    def fill(
        self, row: NDArray[np.float32], start: int, stop: int, end: int
    ) -> NDArray[np.float32] | None:
        """Return a fill of ``row[start:stop]``, good until the next call.

        Parameters
        ----------
        row : float32, shape (n,)
            One channel.
        start, stop, end : int
            The gap, and until where what follows it is known.

        Returns
        -------
        float32, shape (stop - start,), or None
            None if the gap is too long, or too little is known.
        """
        filler = self._filler
        samples = stop - start
        if samples > self._longest or start < self._least or end - stop < LEAST_KNOWN:
            return None
        history = History(1, filler.past_samples)
        history.append(row[None, max(0, start - filler.past_samples) : start], trusted=True)
        after = row[None, stop : min(end, stop + self._after)]
        fill = self._fill[:, :samples]
        continued = max(0, samples - self.horizon)
        moment = Moment(unsteady=True, content="speech", gap_samples=0 if continued else samples)
        filler.reset()
        filler.begin(history, moment)
        if continued:
            filler.extend(fill[:, :continued])
            history.append(fill[:, :continued], trusted=True)
        bridged = np.zeros((1, samples - continued), np.float32)
        if not filler.bridge(history, after, bridged, moment):
            return None
        fill[:, continued:] = bridged
        line: NDArray[np.float32] = fill[0]
        return line
