"""The bridging network (speech-bridge), run on a plan and its weights.

::

    spectra ─▶ features ─▶ blocks down ─▶ recurrent, both ways ─▶ blocks up ─▶ head ─▶ fill
    (context, gap, context)  └──────────── levels beside ────────────┘ (the gap's frames)

It is what ``plc_training.networks.hybrid.HybridNet`` computes, of weights in int8. A grid has
its channels side by side, then bins, then frames. Five bins in a row are one row of five times as
many channels, so a convolution is one product a frame that it reaches, each beginning with what the
last one made: nothing is copied. A run takes the same time whatever it is given.
"""

from typing import Any

import numpy as np

from plc_kernels.build.compile import kernel, rounded_part
from plc_kernels.network import hybrid_plan as at
from plc_kernels.network.frames import Plan, clear, gate, turn
from plc_kernels.network.functions import exp, log
from plc_kernels.network.product import LANES, Reals, Steps, in_steps, layer, multiply, row, steps

F = np.float32

# As in training: plc_training.networks.hybrid.
_LEAK, _FLOOR, _SILENCE = F(0.1), F(1e-3), F(1e-12)
_LEVEL_FLOOR, _DAMPING, _LINEAR = F(1e-6), F(1e-2), F(20.0)
_THIRD, _ZERO, _ONE = F(1.0 / 3.0), F(0.0), F(1.0)
_NO_STEP: Any = np.int64(0)
_ONE_ROW: Any = np.int64(1)
_ONE_PANEL: Any = np.int64(1)


@kernel
def run_hybrid(
    plan: Plan, weights: Reals, spectra: Reals, lost: Reals, work: Reals, out: Reals
) -> None:
    """Fill gaps of one batch, one after the other.

    Parameters
    ----------
    plan, weights : from :func:`~plc_kernels.network.hybrid_plan.plan_hybrid`
    spectra, lost, work, out : as for :func:`~plc_kernels.network.frames.run_frames`
    """
    frames, spectrum = plan[at.FRAMES], 2 * plan[at.BINS]
    many = plan[at.DRAFTS] * frames * spectrum
    made = (plan[at.INNER] - 2 * plan[at.SPARE]) * spectrum
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
    frames, bins, drafts = plan[at.FRAMES], plan[at.BINS], plan[at.DRAFTS]
    spectrum = 2 * bins
    spectra = row(work, plan[at.SPECTRA], drafts * frames * spectrum)
    for d in range(drafts):
        some = d * frames * spectrum
        turn(frames, row(by_bin, some, frames * spectrum), row(spectra, some, frames * spectrum))
    level = _measure(plan, spectra)
    _featurise(plan, weights, spectra, lost, level, work)
    for k in range(plan[at.LEVELS]):
        _go_down(plan, weights, k, work)
    _remember(plan, weights, work)
    for j in range(plan[at.LEVELS]):
        _go_up(plan, weights, j, work)
    _answer(plan, weights, spectra, level, work)
    filled = row(work, plan[at.FILLED], (plan[at.INNER] - 2 * plan[at.SPARE]) * spectrum)
    turn(spectrum, filled, out)


@rounded_part
def _measure(plan: Plan, spectra: Reals) -> np.float32:
    """Return the level: the mean magnitude of everything; summed in one order everywhere."""
    bins, rows = plan[at.BINS], plan[at.DRAFTS] * plan[at.FRAMES]
    total = 0.0
    for t in range(rows):
        re, im = row(spectra, t * 2 * bins, bins), row(spectra, t * 2 * bins + bins, bins)
        some = _ZERO
        for k in range(bins):
            some += np.sqrt(re[k] * re[k] + im[k] * im[k] + _SILENCE)
        total += float(some)
    level: np.float32 = F(total / (rows * bins)) + _LEVEL_FLOOR
    return level


@rounded_part
def _featurise(
    plan: Plan, weights: Reals, spectra: Reals, lost: Reals, level: np.float32, work: Reals
) -> None:
    """Write the features of each bin: logarithms, phases between drafts, place, time, loss."""
    bins, frames, drafts, count = plan[at.BINS], plan[at.FRAMES], plan[at.DRAFTS], plan[at.FEATURES]
    wide, last = (bins + 2 * at.BORDER) * count, drafts - 1
    grid = row(work, plan[at.BLOCKS + at.B_ROWS], frames * wide)
    sizes = row(work, plan[at.SIZES], drafts * bins)
    values = row(work, plan[at.SIZES] + drafts * bins, bins)
    others = row(work, plan[at.SIZES] + (drafts + 1) * bins, bins)
    places = row(weights, plan[at.PLACES], bins)
    for t in range(frames):
        frame = row(grid, t * wide, wide)
        _clear_borders(frame, count)
        inside = row(frame, at.BORDER * count, bins * count)
        own = row(spectra, (last * frames + t) * 2 * bins, 2 * bins)
        own_im = row(own, bins, bins)
        own_size = row(sizes, last * bins, bins)
        for d in range(drafts):
            x = row(spectra, (d * frames + t) * 2 * bins, 2 * bins)
            x_im = row(x, bins, bins)
            size = row(sizes, d * bins, bins)
            for k in range(bins):
                size[k] = np.sqrt(x[k] * x[k] + x_im[k] * x_im[k] + _SILENCE)
            for k in range(bins):
                values[k] = log(size[k] / level + _FLOOR) * _THIRD + _ONE
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
        time = weights[plan[at.TIMES] + t]
        for k in range(bins):
            inside[k * count + count - 3] = places[k]
            inside[k * count + count - 2] = time
            inside[k * count + count - 1] = lost[t]


@rounded_part
def _scatter(x: Reals, out: Reals, first: int, step: int) -> None:
    for k in range(x.size):
        out[first + k * step] = x[k]


@rounded_part
def _clear_borders(frame: Reals, channels: int) -> None:
    clear(row(frame, 0, at.BORDER * channels))
    clear(row(frame, frame.size - at.BORDER * channels, at.BORDER * channels))


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
            _ONE_PANEL,
            row(begin, k, begin.size - k),
            begin_step,
            row(y, k, y.size - k),
            outputs,
        )


@rounded_part
def _leak_to(x: Reals, out: Reals) -> None:
    for k in range(out.size):
        v = x[k]
        out[k] = v if v > _ZERO else _LEAK * v


@rounded_part
def _go_down(plan: Plan, weights: Reals, k: int, work: Reals) -> None:
    """Write the next level: half as many bins."""
    block = plan[at.BLOCKS + k * at.B_WORDS :]
    frames, low, outputs, rows = (
        plan[at.FRAMES],
        block[at.B_LOW],
        block[at.B_MADE],
        block[at.B_MADE_BINS],
    )
    wide, made_wide = (block[at.B_BINS] + 2 * at.BORDER) * low, (rows + 2 * at.BORDER) * outputs
    grid = row(work, block[at.B_ROWS], frames * wide)
    inputs = steps(work, plan[at.INPUTS], grid.size)
    step = in_steps(grid, _NO_STEP, _ONE_ROW, grid.size, inputs)
    made = row(work, block[at.B_WORDS + at.B_ROWS], frames * made_wide)
    bias = row(weights, block[at.B_BIAS], outputs)
    one, other = row(work, plan[at.ONE], rows * outputs), row(work, plan[at.OTHER], rows * outputs)
    count = at.TAPS * low
    panels = (outputs + LANES - 1) // LANES * LANES
    scales, many = (
        row(weights, block[at.B_BIAS] + panels, outputs),
        panels * ((count + 1) // 2) // 2,
    )
    for t in range(frames):
        begin, apart = bias, _NO_STEP
        for tap in range(at.FRAME_TAPS):
            f = t + tap - 1
            if 0 <= f < frames:
                w = row(weights, block[at.B_WEIGHTS] + tap * many, many)
                x = steps(inputs, f * wide, wide)
                _add_products(x, 2 * low, rows, step, w, scales, count, outputs, begin, apart, one)
                begin, apart = one, outputs
                one, other = other, one
        frame = row(made, t * made_wide, made_wide)
        _clear_borders(frame, outputs)
        _leak_to(begin, row(frame, at.BORDER * outputs, rows * outputs))


@rounded_part
def _go_up(plan: Plan, weights: Reals, j: int, work: Reals) -> None:
    """Write the level above, from each bin twice and that level's rows on the way down."""
    levels, first, inner = plan[at.LEVELS], plan[at.FIRST], plan[at.INNER]
    block = plan[at.BLOCKS + (levels + j) * at.B_WORDS :]
    beside = plan[at.BLOCKS + (levels - 1 - j) * at.B_WORDS :]
    low, skip, outputs, rows = (
        block[at.B_LOW],
        block[at.B_SKIP],
        block[at.B_MADE],
        block[at.B_MADE_BINS],
    )
    wide, skip_wide = (rows + 2 * at.BORDER) * low, (rows + 2 * at.BORDER) * skip
    raised = row(work, plan[at.RAISED], inner * max(block[at.B_BINS] * low, rows * outputs))
    grid = row(work, plan[at.WIDE], inner * wide)
    for t in range(inner):
        frame = row(grid, t * wide, wide)
        _clear_borders(frame, low)
        for k in range(rows):
            x = row(raised, (t * block[at.B_BINS] + k // 2) * low, low)
            y = row(frame, (at.BORDER + k) * low, low)
            for c in range(low):
                y[c] = x[c]
    inputs = steps(work, plan[at.INPUTS], grid.size)
    step = in_steps(grid, _NO_STEP, _ONE_ROW, grid.size, inputs)
    skips = row(work, beside[at.B_ROWS] + first * skip_wide, inner * skip_wide)
    others = steps(work, plan[at.OTHER_INPUTS], skips.size)
    other_step = in_steps(skips, _NO_STEP, _ONE_ROW, skips.size, others)
    bias = row(weights, block[at.B_BIAS], outputs)
    one, other = row(work, plan[at.ONE], rows * outputs), row(work, plan[at.OTHER], rows * outputs)
    count, skip_count = at.TAPS * low, at.TAPS * skip
    panels = (outputs + LANES - 1) // LANES * LANES
    scales = row(weights, block[at.B_BIAS] + panels, outputs)
    many, skip_many = panels * ((count + 1) // 2) // 2, panels * ((skip_count + 1) // 2) // 2
    for t in range(inner):
        begin, apart = bias, _NO_STEP
        for tap in range(at.FRAME_TAPS):
            f = t + tap - 1
            if 0 <= f < inner:
                w = row(weights, block[at.B_WEIGHTS] + tap * many, many)
                x = steps(inputs, f * wide, wide)
                _add_products(x, low, rows, step, w, scales, count, outputs, begin, apart, one)
                place = block[at.B_WEIGHTS] + at.FRAME_TAPS * many + tap * skip_many
                w = row(weights, place, skip_many)
                x = steps(others, f * skip_wide, skip_wide)
                _add_products(
                    x, skip, rows, other_step, w, scales, skip_count, outputs, one, outputs, other
                )
                begin, apart = other, outputs
        _leak_to(begin, row(raised, t * rows * outputs, rows * outputs))


@rounded_part
def _remember(plan: Plan, weights: Reals, work: Reals) -> None:
    """Add the recurrent layer's output, in both directions, to the lowest level."""
    frames, units, bottom = plan[at.FRAMES], plan[at.UNITS], plan[at.BOTTOM]
    block = plan[at.BLOCKS + plan[at.LEVELS] * at.B_WORDS :]
    wide = (block[at.B_BINS] + 2 * at.BORDER) * block[at.B_LOW]
    inside = at.BORDER * block[at.B_LOW]
    grid = row(work, block[at.B_ROWS], frames * wide)
    x = row(grid, inside, frames * wide - inside)
    gates = 3 * units
    given = row(work, plan[at.GIVEN_ROWS], frames * gates)
    sums, start = row(work, plan[at.SUMS], gates), row(work, plan[at.START], units)
    states = row(work, plan[at.STATES], frames * 2 * units)
    clear(start)
    inputs, short = (
        steps(work, plan[at.INPUTS], frames * bottom),
        steps(work, plan[at.OTHER_INPUTS], units),
    )
    step = in_steps(x, wide, frames, bottom, inputs)
    for g in range(2):
        place = plan[at.GIVEN] + g * (gates * ((bottom + 1) // 2 + 4) // 2)
        layer(weights, place, bottom, gates, inputs, bottom, frames, step, given, gates)
        held, place = start, plan[at.RECURRENT] + g * (gates * ((units + 1) // 2 + 4) // 2)
        for k in range(frames):
            t = frames - 1 - k if g else k
            size = in_steps(held, _NO_STEP, _ONE_ROW, units, short)
            layer(weights, place, units, gates, short, _NO_STEP, _ONE_ROW, size, sums, _NO_STEP)
            now = row(states, (2 * t + g) * units, units)
            gate(row(given, t * gates, gates), sums, held, now)
            held = now
    first, inner = plan[at.FIRST], plan[at.INNER]
    raised = row(work, plan[at.RAISED], inner * bottom)
    some = row(states, first * 2 * units, inner * 2 * units)
    inputs = steps(work, plan[at.INPUTS], some.size)
    step = in_steps(some, _NO_STEP, _ONE_ROW, some.size, inputs)
    layer(
        weights, plan[at.SPREAD], 2 * units, bottom, inputs, 2 * units, inner, step, raised, bottom
    )
    for t in range(inner):
        y, added = row(raised, t * bottom, bottom), row(x, (first + t) * wide, bottom)
        for k in range(bottom):
            y[k] += added[k]


@rounded_part
def _answer(plan: Plan, weights: Reals, spectra: Reals, level: np.float32, work: Reals) -> None:
    """Write the weighted sum of the drafts, with magnitudes added along its phase."""
    drafts, bins, frames = plan[at.DRAFTS], plan[at.BINS], plan[at.FRAMES]
    spare, inner = plan[at.SPARE], plan[at.INNER]
    block = plan[at.BLOCKS + (2 * plan[at.LEVELS] - 1) * at.B_WORDS :]
    outputs = block[at.B_MADE]
    raised = row(work, plan[at.RAISED], inner * bins * outputs)
    logits = row(work, plan[at.LOGITS], bins * LANES)
    inputs = steps(work, plan[at.INPUTS], raised.size)
    step = in_steps(raised, _NO_STEP, _ONE_ROW, raised.size, inputs)
    for t in range(inner - 2 * spare):
        x = steps(inputs, (spare + t) * bins * outputs, bins * outputs)
        place = plan[at.HEAD]
        layer(
            weights,
            place,
            outputs,
            _NO_STEP + LANES,
            x,
            outputs,
            bins,
            step,
            logits,
            _NO_STEP + LANES,
        )
        y = row(work, plan[at.FILLED] + t * 2 * bins, 2 * bins)
        y_im = row(y, bins, bins)
        clear(y)
        for d in range(drafts):
            place = (d * frames + plan[at.FIRST] + spare + t) * 2 * bins
            own, own_im = row(spectra, place, bins), row(spectra, place + bins, bins)
            for k in range(bins):
                a, b = logits[k * LANES + 2 * d], logits[k * LANES + 2 * d + 1]
                y[k] += a * own[k] - b * own_im[k]
                y_im[k] += a * own_im[k] + b * own[k]
        for k in range(bins):
            more = logits[k * LANES + 2 * drafts]
            added = more if more > _LINEAR else log(_ONE + exp(more))
            size = np.sqrt(y[k] * y[k] + y_im[k] * y_im[k] + _SILENCE)
            grown = _ONE + added * level / (size + _DAMPING * level)
            y[k] *= grown
            y_im[k] *= grown
