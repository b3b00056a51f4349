"""The reference method of the literature: linear prediction from each side of a gap."""

import numpy as np
from numpy.typing import NDArray

from plc.predict.filler import STEADY_MOMENT, Filler, Moment
from plc.predict.history import History
from plc.predict.ladder import LEAST_PAST_SAMPLES, Rung
from plc.predict.linear import ArFiller
from plc_kernels.fade import mix_by_cosine

# Marafioti et al. 2019, section 3.5.
ORDER = 1000
PAST_SAMPLES = 2048


class LpcFiller(Filler):
    """Burg's method on each side, mixed by a squared cosine [1]_.

    Its order is 1000, fitted on 2048 samples. Without samples after the gap it is the forward half
    alone.

    References
    ----------
    .. [1] A. Marafioti et al., "Audio inpainting of music by means of neural networks", AES 146th
       Convention, 2019, section 3.5.
    """

    name = "lpc"
    bridges = True
    past_samples = PAST_SAMPLES

    def __init__(self, sample_rate: int, channels: int, packet_samples: int) -> None:
        sample_ms = 1000.0 / sample_rate
        rung = Rung(ORDER * sample_ms, PAST_SAMPLES * sample_ms)
        self._forward = ArFiller(sample_rate, channels, packet_samples, rung=rung)
        self._backward = ArFiller(sample_rate, channels, packet_samples, rung=rung)
        self._reversed = History(channels, PAST_SAMPLES)

    def reset(self) -> None:
        """Forget the stream."""
        self._forward.reset()

    def begin(self, history: History, moment: Moment = STEADY_MOMENT) -> None:
        """Fit the forward predictor."""
        self._forward.begin(history, moment)

    def extend(self, out: NDArray[np.float32]) -> None:
        """Write the forward prediction."""
        self._forward.extend(out)

    def bridge(
        self,
        history: History,
        after: NDArray[np.float32],
        out: NDArray[np.float32],
        moment: Moment = STEADY_MOMENT,
    ) -> bool:
        """Write the mix of the forward and the backward prediction."""
        self._forward.extend(out)
        if after.shape[1] < LEAST_PAST_SAMPLES:
            return False
        self._reversed.reset()
        self._reversed.append(after[:, :PAST_SAMPLES][:, ::-1], True)
        self._backward.begin(self._reversed)
        lead_in = np.zeros(out.shape, np.float32)
        self._backward.extend(lead_in)
        for c in range(out.shape[0]):
            mix_by_cosine(lead_in[c], out[c])
        return True
