"""The causal network (speech, music), run on a plan and its weights.

::

    spectra ─▶ features ─▶ enter ─▶ mix ─▶ recurrent ─▶ join ─▶ head ─▶ gains, magnitudes ─▶ fill
    (context and gap)     └ convolutions over 3 frames ┘└ the frames that touch the gap ┘

It is what ``plc_training.networks.frames.FramesNet`` computes, of weights in int8. A convolution
over three frames is one product, as three rows in a row are one row of three times as many numbers:
nothing is copied. A run takes the same time whatever it is given, asks for no memory, and calls no
function of the C library. Each operation is rounded by itself, so that what it computes is the same
to the last bit on every processor.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import kernel, rounded_part
from plc_kernels.network import plan as at
from plc_kernels.network.functions import exp, log, sigmoid, tanh
from plc_kernels.network.product import (
    TILE_ROWS,
    Reals,
    in_steps,
    layer,
    layer_from,
    row,
    steps,
)

F = np.float32
Plan = NDArray[np.int64]

# As in training: plc_training.networks.frames.
_LEAK, _FLOOR, _SILENCE = F(0.1), F(1e-4), F(1e-14)
_LEVEL_FLOOR, _LOUDEST, _DAMPING = F(1e-6), F(3.0), F(3e-3)
_THIRD, _TIME = F(1.0 / 3.0), F(1.0 / 32.0)
_ZERO, _ONE, _TWO = F(0.0), F(1.0), F(2.0)
# Of a type that numba compiles no kernels of their own for, as it does for constants of Python.
_NO_STEP: Any = np.int64(0)
_ONE_ROW: Any = np.int64(1)


@kernel
def run_frames(
    plan: Plan, weights: Reals, spectra: Reals, lost: Reals, work: Reals, out: Reals
) -> None:
    """Fill gaps of one batch, one after the other.

    Parameters
    ----------
    plan, weights : from :func:`~plc_kernels.network.plan.plan_frames`
    spectra : float32, shape (batch * drafts * 2 * bins * frames,)
        Real and imaginary parts of every draft's bins.
    lost : float32, shape (batch * frames,)
        Share of each frame's samples that lies in the gap.
    work : float32, shape (plan[WORK],), overwritten
    out : float32, shape (batch * 2 * bins * frames behind the context,), written
    """
    frames, spectrum = plan[at.FRAMES], 2 * plan[at.BINS]
    many, made = plan[at.DRAFTS] * frames * spectrum, (frames - plan[at.CONTEXT]) * spectrum
    for b in range(lost.size // frames):
        _run(
            plan,
            weights,
            row(spectra, b * many, many),
            row(lost, b * frames, frames),
            work,
            row(out, b * made, made),
        )


@rounded_part
def _run(plan: Plan, weights: Reals, spectra: Reals, lost: Reals, work: Reals, out: Reals) -> None:
    frames, width, wide = plan[at.FRAMES], plan[at.WIDTH], plan[at.FEATURES]
    drafts, spectrum, touching = (
        plan[at.DRAFTS],
        2 * plan[at.BINS],
        plan[at.FRAMES] - plan[at.CONTEXT],
    )
    by_bin = spectra
    spectra = row(work, plan[at.SPECTRA], drafts * frames * spectrum)
    for d in range(drafts):
        part = d * frames * spectrum
        turn(frames, row(by_bin, part, frames * spectrum), row(spectra, part, frames * spectrum))
    level = _measure(plan, spectra)
    _featurise(plan, spectra, lost, level, work)
    count = (frames + 2) * wide
    inputs = steps(work, plan[at.INPUTS], count)
    step = in_steps(row(work, plan[at.FEATURE_ROWS], count), _NO_STEP, _ONE_ROW, count, inputs)
    entered = row(work, plan[at.ENTERED], (frames + 2) * width)
    _clear_ends(entered, width)
    inner = row(entered, width, frames * width)
    layer(weights, plan[at.ENTER], 3 * wide, width, inputs, wide, frames, step, inner, width)
    _leak(inner)
    inputs = steps(work, plan[at.INPUTS], entered.size)
    step = in_steps(entered, _NO_STEP, _ONE_ROW, entered.size, inputs)
    mixed = row(work, plan[at.MIXED], (frames + 1) * 2 * width)
    clear(row(mixed, frames * 2 * width, 2 * width))
    layer(weights, plan[at.MIX], 3 * width, width, inputs, width, frames, step, mixed, 2 * width)
    for t in range(frames):
        _leak_and_add(row(mixed, t * 2 * width, width), row(inner, t * width, width))
    _remember(plan, weights, mixed, work)
    _answer(plan, weights, work)
    filled = row(work, plan[at.FILLED], touching * spectrum)
    _weigh(plan, weights, spectra, level, work, filled)
    turn(spectrum, filled, out)


@rounded_part
def turn(columns: int, x: Reals, out: Reals) -> None:
    """Write a matrix's columns as rows."""
    rows = x.size // columns
    for c in range(columns):
        line = row(out, c * rows, rows)
        for r in range(rows):
            line[r] = x[r * columns + c]


@rounded_part
def _measure(plan: Plan, spectra: Reals) -> np.float32:
    """Return the level: the mean magnitude of the last draft before the gap.

    Its last bit is in every feature: it is summed in one order everywhere.
    """
    bins, used, context = plan[at.BINS], plan[at.USED], plan[at.CONTEXT]
    place = (plan[at.DRAFTS] - 1) * plan[at.FRAMES] * 2 * bins
    total = 0.0
    for t in range(context):
        re = row(spectra, place + t * 2 * bins, used)
        im = row(spectra, place + t * 2 * bins + bins, used)
        some = _ZERO
        for k in range(used):
            some += np.sqrt(re[k] * re[k] + im[k] * im[k] + _SILENCE)
        total += some + (bins - used) * np.sqrt(_SILENCE)
    level: np.float32 = F(total / (context * bins)) + _LEVEL_FLOOR
    return level


@rounded_part
def _featurise(plan: Plan, spectra: Reals, lost: Reals, level: np.float32, work: Reals) -> None:
    """Write rows of features: logarithms of magnitudes, likeness of drafts, loss and time."""
    bins, seen, last = plan[at.BINS], plan[at.SEEN], plan[at.DRAFTS] - 1
    frames, wide, bands = plan[at.FRAMES], plan[at.FEATURES], plan[at.BANDS]
    rows = row(work, plan[at.FEATURE_ROWS], (frames + 2) * wide)
    _clear_ends(rows, wide)
    powers = row(work, plan[at.POWERS], bins)
    own_powers = row(work, plan[at.POWERS] + bins, bins)
    for t in range(frames):
        features = row(rows, (t + 1) * wide, wide)
        own = row(spectra, (last * frames + t) * 2 * bins, 2 * bins)
        _multiply_spectra(own, own, plan[at.USED], own_powers)
        _add_silence(own_powers)
        _logarithms(own_powers, level, row(features, last * seen, bins))
        _add_up(bands, own_powers, row(own_powers, 0, seen))
        for d in range(last):
            other = row(spectra, (d * frames + t) * 2 * bins, 2 * bins)
            _multiply_spectra(other, other, plan[at.USED], powers)
            _add_silence(powers)
            _add_up(bands, powers, row(powers, 0, seen))
            _logarithms(row(powers, 0, seen), level, row(features, d * seen, seen))
            likeness = row(features, last * seen + bins + d * seen, seen)
            _divide_by_roots(powers, own_powers, likeness)
            products = row(work, plan[at.LOGIT_ROWS], bins)
            _multiply_spectra(other, own, plan[at.USED], products)
            _add_up(bands, products, row(products, 0, seen))
            for k in range(seen):
                likeness[k] *= products[k]
        features[wide - 2] = lost[t]
        features[wide - 1] = F(t) * _TIME


@rounded_part
def _multiply_spectra(a: Reals, b: Reals, used: int, out: Reals) -> None:
    """Write ``a`` times ``b``'s conjugate, its real part; 0 beyond ``used``."""
    bins = out.size
    a_im, b_im = row(a, bins, bins), row(b, bins, bins)
    for k in range(used):
        out[k] = a[k] * b[k] + a_im[k] * b_im[k]
    for k in range(used, bins):
        out[k] = _ZERO


@rounded_part
def _add_silence(powers: Reals) -> None:
    for k in range(powers.size):
        powers[k] += _SILENCE


@rounded_part
def _add_up(bands: int, x: Reals, out: Reals) -> None:
    """Add neighbours up; ``out`` may be the beginning of ``x``."""
    if bands == 1:
        return
    for j in range(out.size):
        total = _ZERO
        for k in range(j * bands, min((j + 1) * bands, x.size)):
            total += x[k]
        out[j] = total


@rounded_part
def _logarithms(powers: Reals, level: np.float32, out: Reals) -> None:
    share = _ONE / level
    for k in range(out.size):
        out[k] = log(np.sqrt(powers[k]) * share + _FLOOR) * _THIRD + _ONE


@rounded_part
def _divide_by_roots(p: Reals, q: Reals, out: Reals) -> None:
    for k in range(out.size):
        out[k] = _ONE / (np.sqrt(p[k]) * np.sqrt(q[k]))


@rounded_part
def clear(x: Reals) -> None:
    """Write zeros."""
    for k in range(x.size):
        x[k] = _ZERO


@rounded_part
def _clear_ends(x: Reals, width: int) -> None:
    clear(row(x, 0, width))
    clear(row(x, x.size - width, width))


@rounded_part
def _leak(x: Reals) -> None:
    for k in range(x.size):
        v = x[k]
        x[k] = v if v > _ZERO else _LEAK * v


@rounded_part
def _leak_and_add(x: Reals, added: Reals) -> None:
    for k in range(x.size):
        v = x[k]
        x[k] = (v if v > _ZERO else _LEAK * v) + added[k]


@rounded_part
def _remember(plan: Plan, weights: Reals, mixed: Reals, work: Reals) -> None:
    """Write the recurrent layers' states behind their inputs, frame by frame."""
    width, frames, units, gates = plan[at.WIDTH], plan[at.FRAMES], plan[at.UNITS], plan[at.GATES]
    sums, before = row(work, plan[at.SUMS], gates), row(work, plan[at.START], units)
    given = row(work, plan[at.GIVEN_ROWS], frames * gates)
    inputs, short = (
        steps(work, plan[at.INPUTS], frames * width),
        steps(work, plan[at.LOW_INPUTS], units),
    )
    step = in_steps(mixed, 2 * width, frames, width, inputs)
    size = gates * ((units + 1) // 2 + 4) // 2
    clear(before)
    for g in range(plan[at.GROUPS]):
        own = steps(inputs, g * units, inputs.size - g * units)
        place = plan[at.GIVEN] + g * size
        layer(weights, place, units, gates, own, width, frames, step, given, gates)
        held, place = before, plan[at.RECURRENT] + g * size
        for t in range(frames):
            size_of = in_steps(held, _NO_STEP, _ONE_ROW, units, short)
            layer(weights, place, units, gates, short, _NO_STEP, _ONE_ROW, size_of, sums, _NO_STEP)
            now = row(mixed, (2 * t + 1) * width + g * units, units)
            gate(row(given, t * gates, gates), sums, held, now)
            held = now


@rounded_part
def gate(given: Reals, sums: Reals, held: Reals, now: Reals) -> None:
    """Write the next state of a recurrent layer."""
    n = now.size
    for k in range(2 * n):
        sums[k] = sigmoid(given[k] + sums[k])
    keep, own, offered = row(sums, 0, n), row(sums, 2 * n, n), row(given, 2 * n, n)
    reset = row(sums, n, n)
    for k in range(n):
        own[k] = tanh(offered[k] + reset[k] * own[k])
    for k in range(n):
        now[k] = own[k] + keep[k] * (held[k] - own[k])


@rounded_part
def _answer(plan: Plan, weights: Reals, work: Reals) -> None:
    """Write the logits of the frames that touch the gap."""
    width, context, logits = plan[at.WIDTH], plan[at.CONTEXT], plan[at.LOGITS]
    touching = plan[at.FRAMES] - context
    x = row(work, plan[at.MIXED] + (context - 1) * 2 * width, (touching + 2) * 2 * width)
    joined = row(work, plan[at.JOINED], touching * width)
    places = plan[at.JOIN], plan[at.JOIN_DOWN], plan[at.JOIN_UP]
    _layer_with_early(plan, weights, places, 6 * width, width, x, 2 * width, work, joined)
    _leak(joined)
    places = plan[at.HEAD], plan[at.HEAD_DOWN], plan[at.HEAD_UP]
    y = row(work, plan[at.LOGIT_ROWS], touching * logits)
    _layer_with_early(plan, weights, places, width, logits, joined, width, work, y)


@rounded_part
def _layer_with_early(
    plan: Plan,
    weights: Reals,
    places: tuple[int, int, int],
    count: int,
    outputs: int,
    x: Reals,
    x_step: int,
    work: Reals,
    y: Reals,
) -> None:
    """Write a layer's products; in the first frames an adapter's come first."""
    w, down, up = places
    rows, early, rank = plan[at.FRAMES] - plan[at.CONTEXT], plan[at.EARLY], plan[at.RANK]
    inputs = steps(work, plan[at.INPUTS], x.size)
    step = in_steps(x, _NO_STEP, _ONE_ROW, x.size, inputs)
    first = min(early, rows - TILE_ROWS)
    behind = steps(inputs, first * x_step, x.size - first * x_step)
    later = row(y, first * outputs, (rows - first) * outputs)
    layer(weights, w, count, outputs, behind, x_step, rows - first, step, later, outputs)
    if early == 0:
        return
    low, begun = row(work, plan[at.LOW], early * rank), row(work, plan[at.BEGUN], early * outputs)
    layer(weights, down, count, rank, inputs, x_step, early, step, low, rank)
    short = steps(work, plan[at.LOW_INPUTS], low.size)
    low_step = in_steps(low, _NO_STEP, _ONE_ROW, low.size, short)
    layer(weights, up, rank, outputs, short, rank, early, low_step, begun, outputs)
    given = inputs, x_step, early, step, begun, outputs
    layer_from(weights, w, count, outputs, *given, y, outputs)


@rounded_part
def _weigh(
    plan: Plan, weights: Reals, spectra: Reals, level: np.float32, work: Reals, out: Reals
) -> None:
    """Write the weighted sum of the drafts, with magnitudes added along its phase."""
    drafts, bins, used = plan[at.DRAFTS], plan[at.BINS], plan[at.USED]
    frames, context, logits = plan[at.FRAMES], plan[at.CONTEXT], plan[at.LOGITS]
    share = weights[plan[at.DRAFT_SHARE]]
    for t in range(frames - context):
        head = row(work, plan[at.LOGIT_ROWS] + t * logits, logits)
        y = row(out, t * 2 * bins, 2 * bins)
        clear(y)
        for d in range(drafts):
            x = row(spectra, (d * frames + context + t) * 2 * bins, 2 * bins)
            _add_draft(row(head, d * bins, bins), x, y)
        _grow(row(head, drafts * bins, bins), level, y)
        own = row(spectra, ((drafts - 1) * frames + context + t) * 2 * bins, 2 * bins)
        for k in range(2 * bins):
            y[k] += share * (own[k] - y[k])
        for k in range(used, bins):
            y[k], y[bins + k] = own[k], own[bins + k]


@rounded_part
def _add_draft(logits: Reals, x: Reals, y: Reals) -> None:
    bins = logits.size
    x_im, y_im = row(x, bins, bins), row(y, bins, bins)
    for k in range(bins):
        logits[k] = _TWO * sigmoid(logits[k])
    for k in range(bins):
        y[k] += logits[k] * x[k]
        y_im[k] += logits[k] * x_im[k]


@rounded_part
def _grow(added: Reals, level: np.float32, y: Reals) -> None:
    """Add magnitudes to a spectrum along its phase."""
    bins = added.size
    y_im = row(y, bins, bins)
    low = _DAMPING * level
    for k in range(bins):
        most = added[k] if added[k] < _LOUDEST else _LOUDEST
        size = np.sqrt(y[k] * y[k] + y_im[k] * y_im[k] + _SILENCE)
        added[k] = _ONE + exp(most) * level / (size + low)
    for k in range(bins):
        y[k] *= added[k]
        y_im[k] *= added[k]
