"""Linear prediction of a signal's channels: from the past, and from both sides of a gap.

What is fitted, how a prediction sets out and how two of them meet is decided here alone, for a
stream's step (:mod:`plc_kernels.stream.extend`) and for :mod:`plc.engine.predict.linear` alike.
They differ in where the memory lies.
"""

import math
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import inlined, kernel, part, rounded_part
from plc_kernels.signal.ar import burg, extrapolate, taps_of
from plc_kernels.signal.fade import mix_by_error
from plc_kernels.signal.history import FILLED, POSITION, TRUSTED, copy, newest
from plc_kernels.signal.level import largest

OVERSHOOT = 1.5
"""A prediction may overshoot what it was fitted on by this much; beyond, it is held."""
SAMPLES_PER_COEFFICIENT = 4
"""Where a fit has fewer samples than its rung asks for."""
LEAST_PAST_SAMPLES = 64
"""What a fit needs: 8 ms at 8 kHz."""
LEAST_KNOWN = 96
"""Fewer samples beyond a gap than these do music more harm than good."""
ALONE = 4
"""The far side of a gap is fitted alone if it has this many samples for each coefficient."""
RUN_ON_MS = 5.0
"""Both predictions of a bridge go on so far beyond the gap, and are weighed by how they meet."""
DECAY_MS = 0.5
"""Where nothing can be fitted, the last sample decays with this time constant: no step."""
CHUNK = 1024
"""Samples that are extrapolated at a time."""
LONG_MS = 20.0
"""A longer order, in steady content, has a second predictor beside it: of half the order, on the
newest two fifths of the samples, nearer to what changes (docs/notebook.md)."""
BESIDE_ORDER, BESIDE_PAST = 0.5, 0.4
BESIDE_FIT = BESIDE_ORDER * BESIDE_PAST
"""What its fit costs, of the first."""
REHEARSED_MS = 10.0
"""How much of what was played is predicted, to see how well that goes."""

# A sound that began within the past, behind at least this much that was quieter by so many dB: what
# was before it is no past of it.
_QUIET_MS, _QUIET_DB, SLOT_MS = 10.0, 20.0, 5.0
# Below this power nothing is known of a prediction.
_LEAST_POWER = 1e-20
# How often the square of the second predictor's error counts: it knows less of what comes back.
_BESIDE_COUNTS = 2.0


class Predictor(NamedTuple):
    """Memory of the prediction of some channels, with orders up to ``most``.

    ``rate`` in Hz; ``from_onsets``, whether a fit begins at a sound's onset; ``decay``, factor from
    sample to sample where nothing can be fitted. For a fit: float32 ``forward``, ``backward`` and
    ``past`` (samples,); float64 ``mirror`` and ``fitted`` (most + 1,). By channel: float64 ``taps``
    and ``recent`` (2 channels, most); int64 ``orders`` (2 channels,); float64 ``limits`` (2
    channels,): the predictors of all channels, then those beside them; float64 ``weights``
    (channels,), of the latter, 0: there is none. Then float64 ``line`` (most + CHUNK,); and for
    gaps of up to ``reach``, both beyond the gap, too: float32 ``lead_in`` (reach + m,), the far
    side continued backwards, and ``through`` (channels, reach + m), the near side continued.
    """

    rate: int
    from_onsets: bool
    decay: float
    forward: NDArray[np.float32]
    backward: NDArray[np.float32]
    past: NDArray[np.float32]
    mirror: NDArray[np.float64]
    fitted: NDArray[np.float64]
    taps: NDArray[np.float64]
    recent: NDArray[np.float64]
    orders: NDArray[np.int64]
    limits: NDArray[np.float64]
    weights: NDArray[np.float64]
    line: NDArray[np.float64]
    lead_in: NDArray[np.float32]
    through: NDArray[np.float32]

    @classmethod
    def allocate(
        cls, rate: int, channels: int, past: int, most: int, reach: int, from_onsets: bool
    ) -> Self:
        """Return memory of its own, for fits on up to ``past`` samples."""
        sides = np.zeros((1 + channels, reach + int(run_on_samples(rate))), np.float32)
        fit = np.zeros((3, past + 2 * reach), np.float32)
        rows = *fit, *np.zeros((2, most + 1)), *np.zeros((2, 2 * channels, most))
        orders, limits = np.zeros(2 * channels, np.int64), np.zeros(2 * channels)
        state = orders, limits, np.zeros(channels), np.zeros(most + CHUNK)
        decay = math.exp(-1000.0 / (rate * DECAY_MS))
        return cls._make((rate, from_onsets, decay, *rows, *state, sides[0], sides[1:]))


class Bridge(NamedTuple):
    """Samples of a gap that is bridged, and of both sides.

    ``gap``; ``past`` and ``known``, which it is fitted on; ``meet``, on either side, which both
    predictions are compared with; and the ``order``, 0 if too little is known behind the gap. Then
    there is nothing to meet.
    """

    gap: int
    past: int
    known: int
    meet: int
    order: int


@kernel
def run_on_samples(rate: int) -> int:
    """Return the samples beyond a gap that each prediction of a bridge goes on for."""
    return int(np.rint(rate * RUN_ON_MS / 1000.0))


@kernel
def begin_prediction(
    p: Predictor,
    ring: NDArray[np.float32],
    counts: NDArray[np.int64],
    order: int,
    wanted: int,
    unsteady: bool,
    again: bool,
) -> None:
    """Fit every channel's predictor to the newest samples.

    Parameters
    ----------
    p : Predictor, written
    ring, counts
        What was played, as :func:`~plc_kernels.signal.history.append` writes them.
    order, wanted : int
        Coefficients, and samples to fit; fewer where less is known.
    unsteady : bool
        Whether the signal changes fast, as speech does.
    again : bool
        Whether predictors that were fitted before serve again.
    """
    past = min(wanted, counts[FILLED])
    if unsteady and LEAST_PAST_SAMPLES <= counts[TRUSTED] < past:
        # A fade or comfort noise says nothing about a voice; tones ring on behind it.
        past = counts[TRUSTED]
    if past < wanted:
        order = min(order, past // SAMPLES_PER_COEFFICIENT)
    x = p.past[:past]
    for c in range(ring.shape[0]):
        newest(ring[c], counts[POSITION], x)
        if again and 1 < p.orders[c] <= past:
            resume_prediction(p, c, x)
        else:
            begins = _fit_from_onset(p, c, order, x)
            if p.from_onsets and not unsteady and is_long(p.rate, p.orders[c]):
                _fit_beside(p, c, x, x.size - begins)


@part
def _fit_from_onset(p: Predictor, c: int, order: int, x: NDArray[np.float32]) -> int:
    """Fit a channel's predictor to its newest samples, from an onset on, and set it out."""
    begins = sound_begins(p.rate, x) if p.from_onsets else 0
    sound = x[begins:]
    if begins:
        order = min(order, sound.size // SAMPLES_PER_COEFFICIENT)
    stages = _fit(p, order, sound) if sound.size >= LEAST_PAST_SAMPLES else 0
    _set_out_from(p, c, sound, 0, stages)
    return int(begins)


@inlined
def rehearsed_samples(rate: int) -> int:
    """Return the samples of a rehearsal."""
    return int(np.rint(rate * REHEARSED_MS / 1000.0))


@inlined
def is_long(rate: int, order: int) -> bool:
    """Return whether an order, in steady content, has a second predictor beside it."""
    return order > rate * LONG_MS / 1000.0


@inlined
def _beside(p: Predictor, c: int) -> int:
    """Return the row of the predictor beside a channel's own."""
    return p.weights.size + c


@part
def _fit_beside(p: Predictor, c: int, x: NDArray[np.float32], fitted: int) -> None:
    """Fit a second predictor, and weigh both by how they predict the newest samples."""
    row = _beside(p, c)
    late = x[x.size - int(BESIDE_PAST * fitted) :]
    order = min(int(BESIDE_ORDER * p.orders[c]), late.size // SAMPLES_PER_COEFFICIENT)
    stages = _fit(p, order, late)
    _set_out_row(p, row, late, 0, stages)
    made = p.forward[: min(rehearsed_samples(p.rate), x.size - p.orders[c])]
    own, other = _error_of(p, c, x, made), _error_of(p, row, x, made)
    p.weights[c] = weigh(own, other)


@rounded_part
def weigh(own: float, other: float) -> float:
    """Return the weight, 0 to 1, of another predictor beside one, by mean square errors."""
    return own * own / max(own * own + _BESIDE_COUNTS * other * other, _LEAST_POWER**2)


@inlined
def _fit(p: Predictor, order: int, x: NDArray[np.float32]) -> int:
    return burg(order, x, p.forward, p.backward, p.mirror, p.fitted)


@inlined
def _set_out_from(
    p: Predictor, c: int, x: NDArray[np.float32], backwards: int, stages: int
) -> None:
    """Set a channel out from samples with the predictor that was fitted last."""
    _set_out_row(p, c, x, backwards, stages)
    p.orders[_beside(p, c)] = 0
    p.weights[c] = 0.0


@inlined
def _set_out_row(
    p: Predictor, row: int, x: NDArray[np.float32], backwards: int, stages: int
) -> None:
    order, limit = set_out(x, backwards, stages, p.fitted, p.decay, p.taps[row], p.recent[row])
    p.orders[row], p.limits[row] = order, limit


@part
def set_out(
    x: NDArray[np.float32],
    backwards: int,
    stages: int,
    predictor: NDArray[np.float64],
    decay: float,
    taps: NDArray[np.float64],
    recent: NDArray[np.float64],
) -> tuple[int, float]:
    """Write the coefficients, and the samples that they are for; return how many, and the limit."""
    if stages > 0:
        taps_of(predictor[: stages + 1], taps[:stages])
        for k in range(stages):
            recent[k] = x[stages - 1 - k] if backwards else x[x.size - stages + k]
    else:
        taps[0] = decay
        recent[0] = x[0 if backwards else x.size - 1] if x.size > 0 else np.float32(0.0)
    return max(stages, 1), OVERSHOOT * largest(x)


@kernel
def resume_prediction(p: Predictor, c: int, x: NDArray[np.float32]) -> None:
    """Let a channel's prediction go on from the end of ``x``, at least as long as its order."""
    go_on_from(p, c, x, x[:0])


@kernel
def extend_prediction(p: Predictor, c: int, out: NDArray[np.float32]) -> None:
    """Write the predicted next samples of a channel, shape (n,)."""
    _extend(p, c, out)
    add_beside(p, c, 1.0, out)


@part
def _extend(p: Predictor, row: int, out: NDArray[np.float32]) -> None:
    order = p.orders[row]
    line = p.line[: order + CHUNK]
    go_on(p.taps[row, :order], p.limits[row], p.recent[row, :order], line, out)


@part
def add_beside(p: Predictor, c: int, share: float, out: NDArray[np.float32]) -> None:
    """Blend in the second predictor of a channel by its weight, or by ``share`` of the weight."""
    weight = np.float32(share * p.weights[c])
    done = 0 if weight > 0.0 else out.size
    while done < out.size:
        other = p.forward[: min(p.forward.size, out.size - done)]
        _extend(p, _beside(p, c), other)
        _mix(other, weight, out[done : done + other.size])
        done += other.size


@rounded_part
def _mix(other: NDArray[np.float32], weight: np.float32, out: NDArray[np.float32]) -> None:
    for i in range(out.size):
        out[i] += weight * (other[i] - out[i])


@kernel
def measure_bridge(rate: int, order: int, wanted: int, filled: int, known: int, gap: int) -> Bridge:
    """Return the sizes of a bridge's fit, and of the stretch where its sides meet.

    ``rate`` is in Hz; ``order`` and ``wanted`` are as for :func:`begin_prediction`. Of samples,
    ``filled`` are known before the gap, ``known`` behind it, and ``gap`` to fill.
    """
    known, past = min(known, wanted), min(wanted, filled)
    order = min(order, known, (past + gap + known) // SAMPLES_PER_COEFFICIENT)
    if order < 2:
        return Bridge(gap, past, known, 0, 0)
    return Bridge(gap, past, known, min(run_on_samples(rate), past, known), order)


@kernel
def turn_back(
    p: Predictor,
    c: int,
    bridge: Bridge,
    ring: NDArray[np.float32],
    position: int,
    after: NDArray[np.float32],
) -> int:
    """Set a channel out backwards from behind a gap; return the stages of its fit.

    It is fitted on the far side alone if that is long enough, else on both sides at once, the
    forward prediction standing in for the gap.

    Parameters
    ----------
    p : Predictor, with the near side continued in ``through``
    c : int, the channel
    bridge : Bridge, of an order
    ring : float32, shape (capacity,), what was played of the channel
    position : int, where its next sample will stand
    after : float32, shape (at least known,), what follows the gap
    """
    begin, end = bridge.past, bridge.past + bridge.gap
    x = p.past[: end + bridge.known]
    newest(ring, position, x[:begin])
    copy(p.through[c], x[begin:end])
    far_side = x[end:]
    copy(after, far_side)
    # The predictor of a stationary signal serves in both directions.
    alone = bridge.known >= ALONE * bridge.order
    stages = _fit(p, bridge.order, far_side if alone else x)
    _set_out_from(p, c, far_side, 1, stages)
    return stages


@kernel
def meet_sides(p: Predictor, c: int, bridge: Bridge, out: NDArray[np.float32]) -> None:
    """Blend both predictions of a channel, weighted by how well they meet the other side.

    Both are in ``through`` and ``lead_in``, and what :func:`turn_back` was fitted on where that
    left it; ``out``, shape (gap,), holds the near side's, and then both.
    """
    gap, past, stop = bridge.gap, bridge.past, bridge.gap + bridge.meet
    forward_error = error_power(p.through[c, gap:stop], p.past[past + gap : past + stop], 0)
    backward_error = error_power(p.lead_in[gap:stop], p.past[past - bridge.meet : past], 1)
    mix_by_error(forward_error, backward_error, p.lead_in[:gap], out)


@kernel
def predict_beyond(
    p: Predictor, c: int, stages: int, after: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """Write the samples after those known behind a gap, by the fit of :func:`turn_back`."""
    _set_out_from(p, c, after, 0, stages)
    extend_prediction(p, c, out)


@kernel
def rehearse(p: Predictor, c: int, known: NDArray[np.float32], made: NDArray[np.float32]) -> float:
    """Return the mean square error of predicting a channel's newest samples.

    Of a sound that began lately, no predictor foretells the onset: only what is behind it counts,
    and there is no error where that is too short to tell. A predictor that was fitted to what was
    before the sound, too, is not spared it.

    Parameters
    ----------
    p : Predictor, that has begun
    c : int, the channel
    known : float32, shape (at least order + n,), the newest samples
    made : float32, shape (n,), its first samples written, what is predicted of the last
    """
    n = samples_behind_onset(p, c, known, made.size)
    predict_last(p, c, known, made[:n])
    if p.weights[c] > 0.0:
        other = p.forward[:n]
        predict_last(p, _beside(p, c), known, other)
        _mix(other, np.float32(p.weights[c]), made[:n])
    return float(error_power(made[:n], known[known.size - n :], 0))


@part
def _error_of(
    p: Predictor, row: int, known: NDArray[np.float32], made: NDArray[np.float32]
) -> float:
    n = samples_behind_onset(p, row, known, made.size)
    predict_last(p, row, known, made[:n])
    return float(error_power(made[:n], known[known.size - n :], 0))


@part
def samples_behind_onset(p: Predictor, row: int, known: NDArray[np.float32], most: int) -> int:
    """Return how many of the newest samples a predictor can predict from those behind an onset."""
    order = p.orders[row]
    first = known.size - order - most
    begins = sound_begins(p.rate, known) if p.from_onsets else 0
    if begins:
        first = max(first, begins + int(p.rate * SLOT_MS / 1000.0))
    return int(max(known.size - first - order, 0) if most else 0)


@part
def predict_last(
    p: Predictor, row: int, known: NDArray[np.float32], made: NDArray[np.float32]
) -> None:
    """Write a prediction of the last samples, as many as ``made`` has."""
    order = p.orders[row] if made.size else 0
    before = p.mirror[:order]  # of no use but in a fit
    first = known.size - made.size - order
    for k in range(order):
        before[k] = known[first + k]
    go_on(p.taps[row, :order], p.limits[row], before, p.line[: order + CHUNK], made)


@part
def relative_error(
    p: Predictor, order: int, known: NDArray[np.float32], truth: NDArray[np.float32]
) -> float:
    """Return the root of a prediction's error power over the truth's, at most 1.

    Parameters
    ----------
    p : Predictor, whose workspace is written
    order : int, coefficients, at most half of ``known``
    known, truth : float32, shapes (m,) and (n,), samples, and those that follow
    """
    stages = _fit(p, order, known)
    taps, made = p.line[:stages], p.line[stages : 2 * stages + truth.size]
    taps_of(p.fitted[: stages + 1], taps)
    for k in range(stages):
        made[k] = known[known.size - stages + k]
    extrapolate(taps, made)
    error = power = 0.0
    for i in range(truth.size):
        error += (made[stages + i] - truth[i]) ** 2
        power += truth[i] * truth[i]
    return math.sqrt(error / power) if error < power else 1.0


@kernel
def go_on_from(p: Predictor, c: int, before: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Let a channel's prediction go on behind ``before`` and ``out``, as long as its order."""
    for row in (c, _beside(p, c)):
        order = p.orders[row]
        kept = min(order, out.size)
        for k in range(order - kept):
            p.recent[row, k] = before[before.size - order + kept + k]
        for k in range(kept):
            p.recent[row, order - kept + k] = out[out.size - kept + k]


@kernel
def sound_begins(rate: int, x: NDArray[np.float32]) -> int:
    """Return where the sound at the end of a signal began, if it was quiet before; else 0.

    It began within :data:`SLOT_MS` from there on. ``rate`` is in Hz; ``x`` are the newest samples,
    float32, shape (n,).

    A predictor that is fitted across such an onset lets the sound die away: a tone that began
    20 ms ago loses 4, 17 and 29 dB in the next three times 20 ms, and 0, 0 and 1 dB where it is
    fitted from its onset on.
    """
    slot = max(1, int(rate * SLOT_MS / 1000.0))
    loud = max(int(rate * _QUIET_MS / 1000.0), LEAST_PAST_SAMPLES)
    if x.size <= loud + slot:
        return 0
    most = 0.0
    for i in range(x.size - loud, x.size):
        most += x[i] * x[i]
    most *= 10.0 ** (-_QUIET_DB / 10.0) * slot / loud
    quiet = 0
    end = x.size - loud
    while end >= slot:
        power = 0.0
        for i in range(end - slot, end):
            power += x[i] * x[i]
        quiet = quiet + 1 if power <= most else 0
        end -= slot
        if quiet * SLOT_MS >= _QUIET_MS:
            return end + quiet * slot
    return 0


@kernel
def go_on(
    taps: NDArray[np.float64],
    limit: float,
    recent: NDArray[np.float64],
    line: NDArray[np.float64],
    out: NDArray[np.float32],
) -> None:
    """Write the next samples of a prediction.

    Parameters
    ----------
    taps : float64, shape (order,), coefficients
    limit : float
        Largest magnitude; beyond, samples are held.
    recent : float64, shape (order,), read and written, the samples before
    line : float64, shape (m,), m > order, written, workspace
    out : float32, shape (n,), written
    """
    order = taps.size
    most = line.size - order
    done = 0
    while done < out.size:
        n = min(most, out.size - done)
        copy(recent, line[:order])
        extrapolate(taps, line[: order + n])
        for i in range(n):
            out[done + i] = min(max(line[order + i], -limit), limit)
        copy(line[n:], recent)
        done += n


@kernel
def error_power(estimate: NDArray[np.float32], truth: NDArray[np.float32], backwards: int) -> float:
    """Return the mean square of a prediction's error; both signals are float32, shape (n,).

    Where ``backwards`` is 1, and not 0, the prediction runs from the end of ``truth``.
    """
    n = truth.size
    total = 0.0
    for i in range(n):
        difference = estimate[n - 1 - i if backwards else i] - truth[i]
        total += difference * difference
    return total / max(n, 1)
