"""Linear prediction, the engine's own method: it continues the past, and bridges gaps."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc.predict.contour import RUN_ON_MS, ContourBridge
from plc.predict.filler import STEADY_MOMENT, Filler, Moment
from plc.predict.history import History
from plc.predict.ladder import LEAST_PAST_SAMPLES, Ladders, Pace, Rung, Step, within
from plc_kernels.ar import ArWorkspace, burg
from plc_kernels.fade import mix_by_error
from plc_kernels.predict import (
    ALONE,
    SAMPLES_PER_COEFFICIENT,
    error_power,
    go_on,
    set_out,
    sound_begins,
)
from plc_kernels.predict import (
    LEAST_KNOWN as LEAST_KNOWN,
)
from plc_kernels.recall import COMPARED_MS, REHEARSED_MS, join, rehearse
from plc_kernels.stream.layout import CHUNK, DECAY_MS


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
        samples = self.past_samples + 2 * reach
        self._work = ArWorkspace.allocate(samples, most)
        self._compared = round(sample_rate * COMPARED_MS / 1000.0)
        self._past = np.zeros(max(samples, most + self._compared), np.float32)
        self._rate, self._from_onsets = sample_rate, rung is None
        self._decay = math.exp(-1000.0 / (sample_rate * DECAY_MS))
        self._fitted = False
        self._predictor = np.zeros(most + 1)
        self._taps = np.zeros((channels, most))
        self._recent = np.zeros((channels, most))
        self._line = np.zeros(most + CHUNK)
        self._meet = round(sample_rate * RUN_ON_MS / 1000.0)
        self._rehearsed = np.zeros(round(sample_rate * REHEARSED_MS / 1000.0), np.float32)
        self._before = np.zeros(most)
        self._lead_in = np.zeros(reach + self._meet, np.float32)
        self._through = np.zeros((channels, reach + self._meet), np.float32)
        self._orders = [0] * channels
        self._limits = [0.0] * channels

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
        past = min(self._step.past, history.filled)
        if moment.unsteady and LEAST_PAST_SAMPLES <= history.trusted < past:
            # A fade or comfort noise says nothing about a voice; tones ring on behind it.
            past = history.trusted
        order = self._step.order
        if past < self._step.past:
            order = min(order, past // SAMPLES_PER_COEFFICIENT)
        x = self._past[:past]
        work = self._work
        for c in range(len(self._orders)):
            history.newest(c, x)
            sound = x[sound_begins(self._rate, x) if self._from_onsets else 0 :]
            most = order
            if sound.size < past:
                most = min(order, sound.size // SAMPLES_PER_COEFFICIENT)
            stages = 0
            if sound.size >= LEAST_PAST_SAMPLES:
                stages = burg(
                    most, sound, work.forward, work.backward, work.mirror, self._predictor
                )
            self._set_out_from(c, sound, stages)

    def _set_out_from(
        self, c: int, x: NDArray[np.float32], stages: int, backwards: int = 0
    ) -> None:
        """Set channel ``c`` to continue ``x``, forwards or backwards."""
        self._orders[c], self._limits[c] = set_out(
            x, backwards, stages, self._predictor, self._decay, self._taps[c], self._recent[c]
        )

    def extend(self, out: NDArray[np.float32]) -> None:
        """Write the predicted next samples, shape (channels, n)."""
        for c in range(out.shape[0]):
            self._predict(c, out[c])

    def resume(self, lines: NDArray[np.float32]) -> None:
        """Continue from the end of ``lines`` instead of the last output.

        Parameters
        ----------
        lines : float32, shape (channels, n)
            The past and what was made of it, at least as many samples as the order in use.
        """
        for c, line in enumerate(lines):
            order = self._orders[c]
            self._recent[c, :order] = line[line.size - order :]

    def join(
        self,
        history: History,
        beside: NDArray[np.float32],
        peaks: NDArray[np.float32],
        weights: NDArray[np.float64],
        there: NDArray[np.bool_],
        out: NDArray[np.float32],
    ) -> None:
        """Write the next samples along another line: its innovation drives the predictors.

        Parameters
        ----------
        history : History
            What :meth:`begin` looked at.
        beside : float32, shape (channels, past + n)
            What the signal may be like, before the gap and in it.
        peaks : float32, shape (channels,)
            As loud as that line may become.
        weights : float64, shape (channels,)
            Of that line, 0 to 1.
        there : bool, shape (channels,)
            Which channels have such a line; the others are predicted.
        out : float32, shape (channels, n), written
        """
        past = beside.shape[1] - out.shape[1]
        for c, made in enumerate(out):
            if not there[c]:
                self._predict(c, made)
                continue
            order = self._orders[c]
            known = self._past[: min(order + self._compared, past)]
            history.newest(c, known)
            self._limits[c] = join(
                self._taps[c, :order],
                self._limits[c],
                self._recent[c, :order],
                known,
                beside[c],
                float(peaks[c]),
                float(weights[c]),
                self._line[: order + CHUNK],
                made,
            )

    def rehearse(self, history: History, errors: NDArray[np.float64]) -> None:
        """Write the mean square error of predicting the newest samples.

        The predictors are those of the burst, which were fitted to these samples, too.

        Parameters
        ----------
        history : History
            What :meth:`begin` looked at.
        errors : float64, shape (channels,), written
            Of the last 10 ms; of a sound that began in them, of what is behind its onset.
        """
        made = self._rehearsed
        for c, order in enumerate(self._orders):
            known = self._past[: order + self._compared]
            history.newest(c, known)
            taps, line = self._taps[c, :order], self._line[: order + CHUNK]
            before = self._before[:order]
            rate = self._rate if self._from_onsets else 0
            errors[c] = rehearse(rate, taps, self._limits[c], known, before, line, made)

    def _predict(self, c: int, out: NDArray[np.float32]) -> None:
        order = self._orders[c]
        go_on(
            self._taps[c, :order],
            self._limits[c],
            self._recent[c, :order],
            self._line[: order + CHUNK],
            out,
        )

    def bridge(
        self,
        history: History,
        after: NDArray[np.float32],
        out: NDArray[np.float32],
        moment: Moment = STEADY_MOMENT,
    ) -> bool:
        """Blend the continuation of the past with a prediction back from ``after``.

        What leads in is predicted backwards. Its predictor is fitted on the far side alone if
        that is long enough, else on both sides at once, the forward prediction standing in for
        the gap. Each prediction runs on for 5 ms beyond the gap, and is weighted by how well it
        meets the samples there.
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
        gap = out.shape[1]
        known = min(after.shape[1], self._step.past)
        past = min(self._step.past, history.filled)
        order = min(self._step.order, known, (past + gap + known) // SAMPLES_PER_COEFFICIENT)
        if known < LEAST_KNOWN or order < 2:
            forward(out)
            return False
        x = self._past[: past + gap + known]
        meet = min(self._meet, past, known)
        lead_in = self._lead_in[: gap + meet]
        through = self._through[:, : gap + meet]
        if contour is None:
            forward(through)
        else:
            contour.forward(history, after, forward, gap, through)
        out[:] = through[:, :gap]
        ahead = through[:, gap:]
        work = self._work
        for c in range(out.shape[0]):
            history.newest(c, x[:past])
            x[past : past + gap] = out[c]
            far_side = x[past + gap :]
            far_side[:] = after[c, :known]
            forward_error = error_power(ahead[c], far_side[:meet], 0)
            fitted = far_side if known >= ALONE * order else x
            stages = burg(order, fitted, work.forward, work.backward, work.mirror, self._predictor)
            # The predictor of a stationary signal serves in both directions.
            self._set_out_from(c, far_side, stages, backwards=1)
            self._fitted = True
            lead = partial(self._predict, c)
            if contour is None:
                lead(lead_in)
            else:
                contour.backward(c, far_side[::-1], lead, gap, lead_in)
            backward_error = error_power(lead_in[gap:], x[past - meet : past], 1)
            if sides is not None:
                sides.forward[c, :gap] = out[c]
                sides.backward[c, :gap] = lead_in[gap - 1 :: -1]
                self._set_out_from(c, after[c], stages)
                self._predict(c, sides.beyond[c])
            mix_by_error(forward_error, backward_error, lead_in[:gap], out[c])
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
