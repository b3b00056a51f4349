"""Layers of networks as kernels, and the loop that runs a list of them (:mod:`.plan`).

Weights are int8. A run takes the same time whatever it is given, asks for no memory, and calls no
function of the C library. Each operation is rounded by itself, so that what it computes is the same
to the last bit on every processor.

A convolution over three frames is one product, as three rows in a row are one row of three times as
many numbers: nothing is copied. A grid has its channels side by side, then bins, then frames, with
zeros around each frame: five bins in a row are one row of five times as many channels, and its
convolution one product a frame that it reaches, each beginning with what the last one made.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import kernel, rounded_part
from plc_kernels.network import plan as at
from plc_kernels.network.functions import exp, log, sigmoid, tanh
from plc_kernels.network.plan import FRAME_TAPS, TAPS, RowView, view_of
from plc_kernels.network.product import (
    LANES,
    TILE_ROWS,
    Reals,
    Steps,
    filled_up,
    in_steps,
    layer,
    layer_from,
    multiply,
    row,
    steps,
    stored_size,
)

F = np.float32
Plan = NDArray[np.int64]

# As in training: plc_training.networks.frames and .hybrid.
_LEAK, _LEVEL_FLOOR = F(0.1), F(1e-6)
_FLOOR, _SILENCE, _DAMPING = F(1e-4), F(1e-14), F(3e-3)
_BIN_FLOOR, _BIN_SILENCE, _BIN_DAMPING = F(1e-3), F(1e-12), F(1e-2)
_LOUDEST, _LINEAR = F(3.0), F(20.0)
_THIRD, _TIME = F(1.0 / 3.0), F(1.0 / 32.0)
_ZERO, _ONE, _TWO = F(0.0), F(1.0), F(2.0)
# Of a type that numba compiles no kernels of their own for, as it does for constants of Python.
_NO_STEP: Any = np.int64(0)
_ONE_ROW: Any = np.int64(1)


@kernel
def run_network(
    plan: Plan, weights: Reals, spectra: Reals, lost: Reals, work: Reals, out: Reals
) -> None:
    """Fill gaps of one batch, one after the other.

    Parameters
    ----------
    plan, weights : from :meth:`plc_kernels.network.plan.Layers.finish`
    spectra : float32, shape (batch * drafts * 2 * bins * frames,)
        Real and imaginary parts of every draft's bins.
    lost : float32, shape (batch * frames,)
        Share of each frame's samples that lies in the gap.
    work : float32, shape (plan[WORK],), overwritten
    out : float32, shape (batch * 2 * bins * touching,), written
    """
    frames, spectrum = plan[at.FRAMES], 2 * plan[at.BINS]
    many, made = plan[at.DRAFTS] * frames * spectrum, plan[at.TOUCHING] * spectrum
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
def _run(plan: Plan, weights: Reals, by_bin: Reals, lost: Reals, work: Reals, out: Reals) -> None:
    size = plan[at.FRAMES] * 2 * plan[at.BINS]
    spectra = _all(work, view_of(plan, at.SPECTRA))
    for d in range(plan[at.DRAFTS]):
        turn(plan[at.FRAMES], row(by_bin, d * size, size), row(spectra, d * size, size))
    level = _ONE
    for k in range(plan[at.LAYERS]):
        word = at.HEAD + k * at.LAYER_WORDS
        kind, place = plan[word + at.KIND], plan[word + at.WEIGHTS]
        x, y = view_of(plan, plan[word + at.INPUT]), view_of(plan, plan[word + at.OUTPUT])
        beside = view_of(plan, plan[word + at.BESIDE])
        if kind == at.STEPS:
            _take_steps(x, y, work)
        elif kind == at.PRODUCT:
            _multiply(weights, place, x, beside, y, work)
        elif kind == at.RECURRENT or kind == at.BOTH_WAYS:
            _remember(weights, place, x, y, kind == at.BOTH_WAYS, work)
        elif kind == at.CONVOLUTION:
            _convolve(weights, place, x, beside, y, work)
        elif kind == at.RAISE:
            _raise(x, y, work)
        elif kind == at.LEAK:
            for t in range(y.rows):
                _leak_to(_row_of(work, y, t), _row_of(work, y, t))
        elif kind == at.ADD:
            for t in range(y.rows):
                _add(_row_of(work, x, t), _row_of(work, y, t))
        elif kind == at.CLEAR:
            for t in range(y.rows):
                _clear(_row_of(work, y, t))
        elif kind == at.FRAME_FEATURES:
            last = (plan[at.DRAFTS] - 1) * plan[at.FRAMES]  # what is before the gap
            level = _measure(plan, spectra, last, plan[at.CONTEXT], _SILENCE)
            _featurise_frames(plan, spectra, lost, level, y, work)
        elif kind == at.BIN_FEATURES:
            rows = plan[at.DRAFTS] * plan[at.FRAMES]
            level = _measure(plan, spectra, _NO_STEP, rows, _BIN_SILENCE)
            _featurise_bins(plan, weights, place, spectra, lost, level, y, work)
        elif kind == at.FRAME_FILL:
            _fill_by_frame(plan, weights[place], spectra, level, x, y, work)
        else:
            _fill_by_bin(plan, spectra, level, x, y, work)
    turn(2 * plan[at.BINS], _all(work, view_of(plan, at.FILLED)), out)


@rounded_part
def _all(work: Reals, view: RowView) -> Reals:
    numbers: Reals = row(work, view.place, view.rows * view.bins * view.channels)
    return numbers


@rounded_part
def _row_of(work: Reals, view: RowView, number: int) -> Reals:
    numbers: Reals = row(work, view.place + number * view.step, view.bins * view.channels)
    return numbers


@rounded_part
def _extent(view: RowView) -> int:
    """Return the numbers from the first row's begin to the last one's end."""
    return (view.rows - 1) * view.step + view.bins * view.channels


@rounded_part
def turn(columns: int, x: Reals, out: Reals) -> None:
    """Write a matrix's columns as rows."""
    rows = x.size // columns
    for c in range(columns):
        line = row(out, c * rows, rows)
        for r in range(rows):
            line[r] = x[r * columns + c]


@rounded_part
def _clear(x: Reals) -> None:
    for k in range(x.size):
        x[k] = _ZERO


@rounded_part
def _leak_to(x: Reals, out: Reals) -> None:
    """Write rows with a tenth of each number below zero."""
    for k in range(out.size):
        v = x[k]
        out[k] = v if v > _ZERO else _LEAK * v


@rounded_part
def _add(x: Reals, out: Reals) -> None:
    for k in range(out.size):
        out[k] += x[k]


@rounded_part
def _raise(x: RowView, y: RowView, work: Reals) -> None:
    for t in range(y.rows):
        for k in range(y.bins):
            given = row(work, x.place + t * x.step + k // 2 * x.channels, x.channels)
            made = row(work, y.place + t * y.step + k * x.channels, x.channels)
            for c in range(x.channels):
                made[c] = given[c]


@rounded_part
def _take_steps(x: RowView, y: RowView, work: Reals) -> None:
    """Write rows in whole steps, side by side, and the step's size before them."""
    count = x.bins * x.channels
    out = steps(work, y.place, x.rows * count)
    work[y.place - 1] = in_steps(row(work, x.place, _extent(x)), x.step, x.rows, count, out)


@rounded_part
def _multiply(weights: Reals, w: int, x: RowView, begin: RowView, y: RowView, work: Reals) -> None:
    """Write a product of rows and weights.

    The first rows begin with those of ``begin``, the others with the bias.
    """
    count, outputs, extent = x.channels, y.channels, _extent(x)
    inputs, step = steps(work, x.place, extent), work[x.place - 1]
    out = row(work, y.place, _extent(y))
    early = begin.rows
    first = min(early, y.rows - TILE_ROWS)
    behind = steps(inputs, first * x.step, extent - first * x.step)
    later = row(out, first * y.step, out.size - first * y.step)
    layer(weights, w, count, outputs, behind, x.step, y.rows - first, step, later, y.step)
    if early > 0:
        begun = row(work, begin.place, _extent(begin))
        given = inputs, x.step, early, step, begun, begin.step
        layer_from(weights, w, count, outputs, *given, out, y.step)


@rounded_part
def _remember(weights: Reals, w: int, x: RowView, y: RowView, both_ways: bool, work: Reals) -> None:
    """Write the states of recurrent layers side by side, frame by frame.

    Each sees its own share of the input, or all; the second of both ways runs from the end.
    """
    frames, units, count = y.rows, y.channels, x.channels
    gates = filled_up(3 * units)
    given, sums = row(work, _NO_STEP, frames * gates), row(work, frames * gates, gates)
    start = row(work, (frames + 1) * gates, units)
    short = steps(work, (frames + 1) * gates + filled_up(units), units)
    inputs, step = steps(work, x.place, _extent(x)), work[x.place - 1]
    share = count if x.bins > 1 else _NO_STEP
    given_size, own_size = stored_size(count, gates), stored_size(units, gates)
    _clear(start)
    for g in range(y.bins):
        own = steps(inputs, g * share, inputs.size - g * share)
        place = w + g * given_size
        layer(weights, place, count, gates, own, x.step, frames, step, given, gates)
        held, place = start, w + y.bins * given_size + g * own_size
        for k in range(frames):
            t = frames - 1 - k if both_ways and g == 1 else k
            size = in_steps(held, _NO_STEP, _ONE_ROW, units, short)
            layer(weights, place, units, gates, short, _NO_STEP, _ONE_ROW, size, sums, _NO_STEP)
            now = row(work, y.place + t * y.step + g * units, units)
            _gate(row(given, t * gates, gates), sums, held, now)
            held = now


@rounded_part
def _gate(given: Reals, sums: Reals, held: Reals, now: Reals) -> None:
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
def _convolve(weights: Reals, w: int, x: RowView, beside: RowView, y: RowView, work: Reals) -> None:
    """Write a convolution of one grid or two, leaking: as many bins, or half as many."""
    rows, outputs = y.bins, y.channels
    apart = x.channels if x.bins == rows else 2 * x.channels
    inputs, step = steps(work, x.place, x.rows * x.step), work[x.place - 1]
    others, other_step = inputs, step
    if beside.rows > 0:
        others = steps(work, beside.place, beside.rows * beside.step)
        other_step = work[beside.place - 1]
    count, other_count = TAPS * x.channels, TAPS * beside.channels
    panels = filled_up(outputs)
    many, other_many = panels * ((count + 1) // 2) // 2, panels * ((other_count + 1) // 2) // 2
    place = w + filled_up(FRAME_TAPS * (many + other_many))
    bias, scales = row(weights, place, outputs), row(weights, place + panels, outputs)
    one = row(work, _NO_STEP, rows * outputs)
    other = row(work, rows * outputs, rows * outputs)
    for t in range(x.rows):
        begin, begin_step = bias, _NO_STEP
        for tap in range(FRAME_TAPS):
            f = t + tap - 1
            if 0 <= f < x.rows:
                some = row(weights, w + tap * many, many)
                frame = steps(inputs, f * x.step, x.step)
                _add_products(
                    frame, apart, rows, step, some, scales, count, outputs, begin, begin_step, one
                )
                begin, begin_step, one, other = one, outputs, other, one
                if beside.rows > 0:
                    some = row(weights, w + FRAME_TAPS * many + tap * other_many, other_many)
                    frame = steps(others, f * beside.step, beside.step)
                    given = other_step, some, scales, other_count, outputs, begin, outputs, one
                    _add_products(frame, beside.channels, rows, *given)
                    begin, one, other = one, other, one
        _leak_to(begin, _row_of(work, y, t))


@rounded_part
def _add_products(
    x: Steps,
    x_step: int,
    rows: int,
    step: np.float32,
    weights: Reals,
    scales: Reals,
    count: int,
    outputs: int,
    begin: Reals,
    begin_step: int,
    y: Reals,
) -> None:
    """Write ``y = begin + x w``; the last panel may overlap the one before."""
    size = (count + 1) // 2 * LANES // 2
    for p in range((outputs + LANES - 1) // LANES):
        k = min(p * LANES, outputs - LANES)
        multiply(
            x,
            x_step,
            rows,
            step,
            row(weights, p * size, size),
            row(scales, k, LANES),
            count,
            _ONE_ROW,
            row(begin, k, begin.size - k),
            begin_step,
            row(y, k, y.size - k),
            outputs,
        )


@rounded_part
def _measure(plan: Plan, spectra: Reals, first: int, rows: int, silence: np.float32) -> np.float32:
    """Return the level: the mean magnitude of some rows.

    Its last bit is in every feature: it is summed in one order everywhere.
    """
    bins, used = plan[at.BINS], plan[at.USED]
    total = 0.0
    for t in range(first, first + rows):
        re, im = row(spectra, t * 2 * bins, used), row(spectra, t * 2 * bins + bins, used)
        some = _ZERO
        for k in range(used):
            some += np.sqrt(re[k] * re[k] + im[k] * im[k] + silence)
        total += some + (bins - used) * np.sqrt(silence)
    level: np.float32 = F(total / (rows * bins)) + _LEVEL_FLOOR
    return level


@rounded_part
def _featurise_frames(
    plan: Plan, spectra: Reals, lost: Reals, level: np.float32, y: RowView, work: Reals
) -> None:
    """Write rows of features: logarithms of magnitudes, likeness of drafts, loss and time."""
    bins, used, bands = plan[at.BINS], plan[at.USED], plan[at.BANDS]
    frames, last, wide = plan[at.FRAMES], plan[at.DRAFTS] - 1, y.channels
    seen = (bins + bands - 1) // bands
    powers, own_powers = row(work, _NO_STEP, bins), row(work, bins, bins)
    products = row(work, 2 * bins, bins)
    for t in range(frames):
        features = _row_of(work, y, t)
        own = row(spectra, (last * frames + t) * 2 * bins, 2 * bins)
        _multiply_spectra(own, own, used, own_powers)
        _add_silence(own_powers)
        _logarithms(own_powers, level, row(features, last * seen, bins))
        _add_up(bands, own_powers, row(own_powers, 0, seen))
        for d in range(last):
            other = row(spectra, (d * frames + t) * 2 * bins, 2 * bins)
            _multiply_spectra(other, other, used, powers)
            _add_silence(powers)
            _add_up(bands, powers, row(powers, 0, seen))
            _logarithms(row(powers, 0, seen), level, row(features, d * seen, seen))
            likeness = row(features, last * seen + bins + d * seen, seen)
            _divide_by_roots(powers, own_powers, likeness)
            _multiply_spectra(other, own, used, products)
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
def _featurise_bins(
    plan: Plan,
    weights: Reals,
    w: int,
    spectra: Reals,
    lost: Reals,
    level: np.float32,
    y: RowView,
    work: Reals,
) -> None:
    """Write the features of each bin: logarithms, phases between drafts, place, time, loss."""
    bins, frames, drafts, count = plan[at.BINS], plan[at.FRAMES], plan[at.DRAFTS], y.channels
    last = drafts - 1
    sizes = row(work, _NO_STEP, drafts * bins)
    values, others = row(work, drafts * bins, bins), row(work, (drafts + 1) * bins, bins)
    places, times = row(weights, w, bins), row(weights, w + bins, frames)
    for t in range(frames):
        inside = _row_of(work, y, t)
        own = row(spectra, (last * frames + t) * 2 * bins, 2 * bins)
        own_im = row(own, bins, bins)
        own_size = row(sizes, last * bins, bins)
        for d in range(drafts):
            x = row(spectra, (d * frames + t) * 2 * bins, 2 * bins)
            x_im = row(x, bins, bins)
            size = row(sizes, d * bins, bins)
            for k in range(bins):
                size[k] = np.sqrt(x[k] * x[k] + x_im[k] * x_im[k] + _BIN_SILENCE)
            for k in range(bins):
                values[k] = log(size[k] / level + _BIN_FLOOR) * _THIRD + _ONE
            _scatter(values, inside, d, count)
        for d in range(last):
            x = row(spectra, (d * frames + t) * 2 * bins, 2 * bins)
            x_im = row(x, bins, bins)
            size = row(sizes, d * bins, bins)
            for k in range(bins):
                scale = _ONE / (size[k] * own_size[k])
                values[k] = (x[k] * own[k] + x_im[k] * own_im[k]) * scale
                others[k] = (x_im[k] * own[k] - x[k] * own_im[k]) * scale
            _scatter(values, inside, drafts + 2 * d, count)
            _scatter(others, inside, drafts + 2 * d + 1, count)
        for k in range(bins):
            inside[k * count + count - 3] = places[k]
            inside[k * count + count - 2] = times[t]
            inside[k * count + count - 1] = lost[t]


@rounded_part
def _scatter(x: Reals, out: Reals, first: int, step: int) -> None:
    for k in range(x.size):
        out[first + k * step] = x[k]


@rounded_part
def _fill_by_frame(
    plan: Plan,
    share: np.float32,
    spectra: Reals,
    level: np.float32,
    logits: RowView,
    y: RowView,
    work: Reals,
) -> None:
    """Write the drafts, each bin with a weight, with magnitudes added along their phase.

    ``share`` is the last draft's share in what is written.
    """
    drafts, bins, used = plan[at.DRAFTS], plan[at.BINS], plan[at.USED]
    frames, context = plan[at.FRAMES], plan[at.CONTEXT]
    for t in range(y.rows):
        head, out = _row_of(work, logits, t), _row_of(work, y, t)
        _clear(out)
        for d in range(drafts):
            x = row(spectra, (d * frames + context + t) * 2 * bins, 2 * bins)
            _add_draft(row(head, d * bins, bins), x, out)
        _grow(row(head, drafts * bins, bins), level, out)
        own = row(spectra, ((drafts - 1) * frames + context + t) * 2 * bins, 2 * bins)
        for k in range(2 * bins):
            out[k] += share * (own[k] - out[k])
        for k in range(used, bins):
            out[k], out[bins + k] = own[k], own[bins + k]


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


@rounded_part
def _fill_by_bin(
    plan: Plan, spectra: Reals, level: np.float32, logits: RowView, y: RowView, work: Reals
) -> None:
    """Write the drafts, each bin with a complex weight, with magnitudes added along their phase."""
    drafts, bins, frames = plan[at.DRAFTS], plan[at.BINS], plan[at.FRAMES]
    for t in range(y.rows):
        head = row(work, logits.place + t * bins * LANES, bins * LANES)
        out = _row_of(work, y, t)
        out_im = row(out, bins, bins)
        _clear(out)
        for d in range(drafts):
            place = (d * frames + plan[at.CONTEXT] + t) * 2 * bins
            own, own_im = row(spectra, place, bins), row(spectra, place + bins, bins)
            for k in range(bins):
                a, b = head[k * LANES + 2 * d], head[k * LANES + 2 * d + 1]
                out[k] += a * own[k] - b * own_im[k]
                out_im[k] += a * own_im[k] + b * own[k]
        for k in range(bins):
            more = head[k * LANES + 2 * drafts]
            added = more if more > _LINEAR else log(_ONE + exp(more))
            size = np.sqrt(out[k] * out[k] + out_im[k] * out_im[k] + _BIN_SILENCE)
            grown = _ONE + added * level / (size + _BIN_DAMPING * level)
            out[k] *= grown
            out_im[k] *= grown
