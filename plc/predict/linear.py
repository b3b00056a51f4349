"""Linear prediction, the engine's own method: it continues the past, and bridges gaps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc.predict.contour import ContourBridge
from plc.predict.filler import STEADY_MOMENT, Filler, Moment
from plc.predict.history import History
from plc.predict.ladder import Ladders, Pace, Rung, Step, within
from plc_kernels.predict import (
    Predictor,
    begin_prediction,
    extend_prediction,
    measure_bridge,
    meet_sides,
    predict_beyond,
    resume_prediction,
    turn_back,
)


@dataclass(frozen=True, slots=True)
class Sides:
    """Both sides of a bridge, float32.

    Attributes
    ----------
    forward, backward : shape (channels, n)
        Each side of the gap continued through it, in the signal's direction; n is at least the
        gap.
    beyond : shape (channels, m)
        What the far side's predictor says comes after the samples known beyond the gap.
    """

    forward: NDArray[np.float32]
    backward: NDArray[np.float32]
    beyond: NDArray[np.float32]


class ArFiller(Filler):
    """Linear prediction by Burg's method at an affordable rung.

    Parameters
    ----------
    sample_rate, channels, packet_samples, limit_ms, reach
        As for :class:`~plc.predict.ladder.Ladders`.
    rung : Rung or None
        One rung for all content, whatever it costs; None chooses from the ladders, and fits to a
        sound from its onset on.
    """

    bridges = True

    def __init__(
        self,
        sample_rate: int,
        channels: int,
        packet_samples: int,
        limit_ms: float = float("inf"),
        reach: int = 0,
        rung: Rung | None = None,
    ) -> None:
        rungs = None if rung is None else (rung, rung)
        self._ladders = ladders = Ladders(
            sample_rate, channels, packet_samples, limit_ms, reach, rungs
        )
        self.steady, self.unsteady = ladders.steady, ladders.unsteady
        self.past_samples, most = ladders.past_samples, ladders.most_coefficients
        self.pace = Pace()
        self._steps = self.steady
        self._step: Step = self.steady[0]
        self._fitted = False
        self.predictor = Predictor.allocate(
            sample_rate, channels, self.past_samples, most, reach, rung is None
        )
        """Memory of the prediction, for kernels that drive it."""

    @property
    def names(self) -> tuple[str, ...]:
        """The rungs of both ladders."""
        return self._ladders.names

    @property
    def name(self) -> str:
        """The rung in use."""
        return self._step.rung.name

    def reset(self) -> None:
        """Return to the top of the ladder."""
        self.pace.reset()
        self._steps = self.steady
        self._step = self.steady[0]
        self._fitted = False

    def begin(self, history: History, moment: Moment = STEADY_MOMENT) -> None:
        """Fit every channel's predictor to the newest samples."""
        self._steps = self.unsteady if moment.unsteady else self.steady
        self._step = within(self._steps, self.pace.depth, moment.limit_ms)
        self._fitted = True
        begin_prediction(
            self.predictor,
            history.ring,
            history.counts,
            self._step.order,
            self._step.past,
            moment.unsteady,
            False,
        )

    def extend(self, out: NDArray[np.float32]) -> None:
        """Write the predicted next samples, shape (channels, n)."""
        for c, line in enumerate(out):
            extend_prediction(self.predictor, c, line)

    def resume(self, lines: NDArray[np.float32]) -> None:
        """Continue from the end of ``lines`` instead of the last output.

        Parameters
        ----------
        lines : float32, shape (channels, n)
            The past and what was made of it, at least as many samples as the order in use.
        """
        for c, line in enumerate(lines):
            resume_prediction(self.predictor, c, line)

    def bridge(
        self,
        history: History,
        after: NDArray[np.float32],
        out: NDArray[np.float32],
        moment: Moment = STEADY_MOMENT,
    ) -> bool:
        """Blend the continuation of the past with a prediction back from ``after``.

        :func:`~plc_kernels.predict.turn_back` says what the latter is fitted on, and
        :func:`~plc_kernels.predict.meet_sides` how both are weighted.
        """
        return self.bridge_from(self.extend, history, after, out)

    def bridge_from(
        self,
        forward: Callable[[NDArray[np.float32]], None],
        history: History,
        after: NDArray[np.float32],
        out: NDArray[np.float32],
        sides: Sides | None = None,
        contour: ContourBridge | None = None,
    ) -> bool:
        """Build the bridge of :meth:`bridge` from the output of ``forward``.

        ``sides``, if there, is written where a bridge was built. With a contour both sides run
        through the gap along it.
        """
        p, step, gap = self.predictor, self._step, out.shape[1]
        past = step.order, step.past, history.filled
        bridge = measure_bridge(p.rate, *past, after.shape[1], gap)
        if bridge.order == 0:
            forward(out)
            return False
        through = p.through[:, : gap + bridge.meet]
        lead_in = p.lead_in[: gap + bridge.meet]
        if contour is None:
            forward(through)
        else:
            contour.forward(history, after, forward, gap, through)
        out[:] = through[:, :gap]
        self._fitted = True
        for c, ring in enumerate(history.ring):
            stages = turn_back(p, c, bridge, ring, history.position, after[c])
            if contour is None:
                extend_prediction(p, c, lead_in)
            else:
                contour.lead_in(p, c, bridge)
            if sides is not None:
                sides.forward[c, :gap] = out[c]
                sides.backward[c, :gap] = lead_in[gap - 1 :: -1]
                predict_beyond(p, c, stages, after[c], sides.beyond[c])
            meet_sides(p, c, bridge, out[c])
        return True

    def took(self, late: bool) -> int:
        """Hear whether a concealment took too long; return the steps down the ladder for it.

        Packets for which nothing was fitted are cheap at any rung, and say nothing.
        """
        if not self._fitted:
            return 0
        self._fitted = False
        return self.pace.note(late, len(self._steps) - 1)

    def pass_time(self, ms: float) -> int:
        """Advance the stream's time; return the steps up the ladder."""
        return self.pace.pass_time(ms)

    def describe(self) -> dict[str, Any]:
        """Return the method, and each ladder's rungs with their measured cost."""
        return self._ladders.describe()
