"""Linear prediction, the engine's own method: it continues the past, and bridges gaps."""

import numpy as np
from numpy.typing import NDArray

from plc.engine.predict.expected_contour import ContourBridge
from plc.engine.predict.ladder import Ladders, Rung, Step
from plc.engine.predict.played_history import History
from plc_kernels.signal.predict import (
    Predictor,
    begin_prediction,
    extend_prediction,
    measure_bridge,
    meet_sides,
    turn_back,
)


class ArFiller:
    """Linear prediction by Burg's method at one rung: for gaps of files, and for drafts of them.

    Parameters
    ----------
    sample_rate, channels : int, of the signal
    rung : Rung, order and past
    reach : int
        The longest bridge, and the most samples known beyond it.
    from_onsets : bool
        Whether it is fitted to a sound from its onset on.
    """

    def __init__(
        self, sample_rate: int, channels: int, rung: Rung, reach: int = 0, from_onsets: bool = False
    ) -> None:
        ladders = Ladders(sample_rate, channels, 1, float("inf"), reach, (rung, rung))
        self.past_samples, most = ladders.past_samples, ladders.most_coefficients
        self._step: Step = ladders.steady[0]
        self.name = rung.name
        self.predictor = Predictor.allocate(
            sample_rate, channels, self.past_samples, most, reach, from_onsets
        )
        """Memory of the prediction, for kernels that drive it."""

    def begin(self, history: History, unsteady: bool = False) -> None:
        """Fit every channel's predictor to the newest samples.

        ``unsteady`` of what changes as fast as speech: it is fitted to what was heard since the
        last fade alone.
        """
        step = self._step
        begin_prediction(
            self.predictor, history.ring, history.counts, step.order, step.past, unsteady, False
        )

    def extend(self, out: NDArray[np.float32]) -> None:
        """Write the predicted next samples, shape (channels, n)."""
        for c, line in enumerate(out):
            extend_prediction(self.predictor, c, line)

    def bridge(
        self,
        history: History,
        after: NDArray[np.float32],
        out: NDArray[np.float32],
        contour: ContourBridge | None = None,
    ) -> bool:
        """Blend the continuation of the past with a prediction back from ``after``.

        :func:`~plc_kernels.signal.predict.turn_back` says what the latter is fitted on, and
        :func:`~plc_kernels.signal.predict.meet_sides` how both are weighted. With a contour both
        run through the gap along it. Return whether a bridge was built.
        """
        p, step, gap = self.predictor, self._step, out.shape[1]
        past = step.order, step.past, history.filled
        bridge = measure_bridge(p.rate, *past, after.shape[1], gap)
        if bridge.order == 0:
            self.extend(out)
            return False
        through = p.through[:, : gap + bridge.meet]
        lead_in = p.lead_in[: gap + bridge.meet]
        if contour is None:
            self.extend(through)
        else:
            contour.forward(history, after, self.extend, gap, through)
        out[:] = through[:, :gap]
        for c, ring in enumerate(history.ring):
            turn_back(p, c, bridge, ring, history.position, after[c])
            if contour is None:
                extend_prediction(p, c, lead_in)
            else:
                contour.lead_in(p, c, bridge)
            meet_sides(p, c, bridge, out[c])
        return True
