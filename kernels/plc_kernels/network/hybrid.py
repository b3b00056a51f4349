"""The bridging network (speech-bridge), run on a plan and its weights.

::

    spectra ─▶ features ─▶ blocks down ─▶ recurrent, both ways ─▶ blocks up ─▶ head ─▶ fill
    (context, gap, context)  └──────────── levels beside ────────────┘ (the gap's frames)

It is what ``plc_training.networks.hybrid.HybridNet`` computes, from the same weights. A grid has
its channels side by side, then bins, then frames. Five bins in a row are one row of five times as
many channels, so a convolution is one product a frame that it reaches, each beginning with what the
last one made: nothing is copied. A run takes the same time whatever it is given.
"""

from typing import Any

import numpy as np

from plc_kernels.compile import exact_part, kernel, part, rounded_part
from plc_kernels.network.frames import Plan, clear, gate, turn
from plc_kernels.network.functions import exp, log
from plc_kernels.network.hybrid_plan import (
    B_BIAS,
    B_BINS,
    B_LOW,
    B_MADE,
    B_MADE_BINS,
    B_ROWS,
    B_SKIP,
    B_WEIGHTS,
    B_WORDS,
    BINS,
    BLOCKS,
    BORDER,
    BOTTOM,
    DRAFTS,
    FEATURES,
    FILLED,
    FIRST,
    FRAME_TAPS,
    FRAMES,
    GIVEN,
    GIVEN_BIAS,
    GIVEN_ROWS,
    HEAD,
    HEAD_BIAS,
    INNER,
    LEVELS,
    LOGITS,
    ONE,
    OTHER,
    PLACES,
    RAISED,
    RECURRENT,
    RECURRENT_BIAS,
    SIZES,
    SPARE,
    SPECTRA,
    SPREAD,
    SPREAD_BIAS,
    START,
    STATES,
    SUMS,
    TAPS,
    TIMES,
    UNITS,
    WIDE,
)
from plc_kernels.network.product import LANES, Reals, multiply, row

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
    plan, weights
        From :func:`~plc_kernels.network.hybrid_plan.plan_hybrid`.
    spectra, lost, work, out
        As for :func:`~plc_kernels.network.frames.run_frames`.
    """
    frames, spectrum = plan[FRAMES], 2 * plan[BINS]
    many = plan[DRAFTS] * frames * spectrum
    made = (plan[INNER] - 2 * plan[SPARE]) * spectrum
    for b in range(lost.size // frames):
        _run(
            plan,
            weights,
            row(spectra, b * many, many),
            row(lost, b * frames, frames),
            work,
            row(out, b * made, made),
        )


@part
def _run(plan: Plan, weights: Reals, by_bin: Reals, lost: Reals, work: Reals, out: Reals) -> None:
    frames, bins, drafts = plan[FRAMES], plan[BINS], plan[DRAFTS]
    spectrum = 2 * bins
    spectra = row(work, plan[SPECTRA], drafts * frames * spectrum)
    for d in range(drafts):
        some = d * frames * spectrum
        turn(frames, row(by_bin, some, frames * spectrum), row(spectra, some, frames * spectrum))
    level = _measure(plan, spectra)
    _featurise(plan, weights, spectra, lost, level, work)
    for k in range(plan[LEVELS]):
        _go_down(plan, weights, k, work)
    _remember(plan, weights, work)
    for j in range(plan[LEVELS]):
        _go_up(plan, weights, j, work)
    _answer(plan, weights, spectra, level, work)
    filled = row(work, plan[FILLED], (plan[INNER] - 2 * plan[SPARE]) * spectrum)
    turn(spectrum, filled, out)


@exact_part
def _measure(plan: Plan, spectra: Reals) -> np.float32:
    """Return the level: the mean magnitude of everything; summed in one order everywhere."""
    bins, rows = plan[BINS], plan[DRAFTS] * plan[FRAMES]
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
    bins, frames, drafts, count = plan[BINS], plan[FRAMES], plan[DRAFTS], plan[FEATURES]
    wide, last = (bins + 2 * BORDER) * count, drafts - 1
    grid = row(work, plan[BLOCKS + B_ROWS], frames * wide)
    sizes = row(work, plan[SIZES], drafts * bins)
    values = row(work, plan[SIZES] + drafts * bins, bins)
    others = row(work, plan[SIZES] + (drafts + 1) * bins, bins)
    places = row(weights, plan[PLACES], bins)
    for t in range(frames):
        frame = row(grid, t * wide, wide)
        _clear_borders(frame, count)
        inside = row(frame, BORDER * count, bins * count)
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
        time = weights[plan[TIMES] + t]
        for k in range(bins):
            inside[k * count + count - 3] = places[k]
            inside[k * count + count - 2] = time
            inside[k * count + count - 1] = lost[t]


@part
def _scatter(x: Reals, out: Reals, first: int, step: int) -> None:
    for k in range(x.size):
        out[first + k * step] = x[k]


@part
def _clear_borders(frame: Reals, channels: int) -> None:
    clear(row(frame, 0, BORDER * channels))
    clear(row(frame, frame.size - BORDER * channels, BORDER * channels))


@part
def _add_products(
    x: Reals,
    x_step: int,
    rows: int,
    weights: Reals,
    count: int,
    outputs: int,
    begin: Reals,
    begin_step: int,
    y: Reals,
) -> None:
    """Write ``y = begin + x w``; the last panel may do again what was done."""
    panels = (outputs + LANES - 1) // LANES
    for p in range(panels):
        k = min(p * LANES, outputs - LANES)
        multiply(
            x,
            x_step,
            rows,
            row(weights, p * count * LANES, count * LANES),
            count,
            _ONE_PANEL,
            row(begin, k, begin.size - k),
            begin_step,
            row(y, k, y.size - k),
            outputs,
        )


@part
def _leak_to(x: Reals, out: Reals) -> None:
    for k in range(out.size):
        v = x[k]
        out[k] = v if v > _ZERO else _LEAK * v


@part
def _go_down(plan: Plan, weights: Reals, k: int, work: Reals) -> None:
    """Write the next level: half as many bins."""
    block = plan[BLOCKS + k * B_WORDS :]
    frames, low, outputs, rows = plan[FRAMES], block[B_LOW], block[B_MADE], block[B_MADE_BINS]
    wide, made_wide = (block[B_BINS] + 2 * BORDER) * low, (rows + 2 * BORDER) * outputs
    grid = row(work, block[B_ROWS], frames * wide)
    made = row(work, block[B_WORDS + B_ROWS], frames * made_wide)
    bias = row(weights, block[B_BIAS], outputs)
    one, other = row(work, plan[ONE], rows * outputs), row(work, plan[OTHER], rows * outputs)
    count = TAPS * low
    many = (outputs + LANES - 1) // LANES * LANES * count
    for t in range(frames):
        begin, step = bias, _NO_STEP
        for tap in range(FRAME_TAPS):
            f = t + tap - 1
            if 0 <= f < frames:
                w = row(weights, block[B_WEIGHTS] + tap * many, many)
                x = row(grid, f * wide, wide)
                _add_products(x, 2 * low, rows, w, count, outputs, begin, step, one)
                begin, step = one, outputs
                one, other = other, one
        frame = row(made, t * made_wide, made_wide)
        _clear_borders(frame, outputs)
        _leak_to(begin, row(frame, BORDER * outputs, rows * outputs))


@part
def _go_up(plan: Plan, weights: Reals, j: int, work: Reals) -> None:
    """Write the level above, from twice as many bins and what went down there."""
    levels, frames, first, inner = plan[LEVELS], plan[FRAMES], plan[FIRST], plan[INNER]
    block = plan[BLOCKS + (levels + j) * B_WORDS :]
    beside = plan[BLOCKS + (levels - 1 - j) * B_WORDS :]
    low, skip, outputs, rows = block[B_LOW], block[B_SKIP], block[B_MADE], block[B_MADE_BINS]
    wide, skip_wide = (rows + 2 * BORDER) * low, (rows + 2 * BORDER) * skip
    raised = row(work, plan[RAISED], inner * max(block[B_BINS] * low, rows * outputs))
    grid = row(work, plan[WIDE], inner * wide)
    for t in range(inner):
        frame = row(grid, t * wide, wide)
        _clear_borders(frame, low)
        for k in range(rows):
            x = row(raised, (t * block[B_BINS] + k // 2) * low, low)
            y = row(frame, (BORDER + k) * low, low)
            for c in range(low):
                y[c] = x[c]
    skips = row(work, beside[B_ROWS], frames * skip_wide)
    bias = row(weights, block[B_BIAS], outputs)
    one, other = row(work, plan[ONE], rows * outputs), row(work, plan[OTHER], rows * outputs)
    count, skip_count = TAPS * low, TAPS * skip
    panels = (outputs + LANES - 1) // LANES * LANES
    many, skip_many = panels * count, panels * skip_count
    for t in range(inner):
        begin, step = bias, _NO_STEP
        for tap in range(FRAME_TAPS):
            f = t + tap - 1
            if 0 <= f < inner:
                w = row(weights, block[B_WEIGHTS] + tap * many, many)
                x = row(grid, f * wide, wide)
                _add_products(x, low, rows, w, count, outputs, begin, step, one)
                at = block[B_WEIGHTS] + FRAME_TAPS * many + tap * skip_many
                w = row(weights, at, skip_many)
                x = row(skips, (first + f) * skip_wide, skip_wide)
                _add_products(x, skip, rows, w, skip_count, outputs, one, outputs, other)
                begin, step = other, outputs
        _leak_to(begin, row(raised, t * rows * outputs, rows * outputs))


@part
def _remember(plan: Plan, weights: Reals, work: Reals) -> None:
    """Add to the lowest level what the recurrent layer makes of it, in both directions."""
    frames, units, bottom = plan[FRAMES], plan[UNITS], plan[BOTTOM]
    block = plan[BLOCKS + plan[LEVELS] * B_WORDS :]
    wide = (block[B_BINS] + 2 * BORDER) * block[B_LOW]
    inside = BORDER * block[B_LOW]
    grid = row(work, block[B_ROWS], frames * wide)
    x = row(grid, inside, frames * wide - inside)
    gates = 3 * units
    given = row(work, plan[GIVEN_ROWS], frames * gates)
    sums, start = row(work, plan[SUMS], gates), row(work, plan[START], units)
    states = row(work, plan[STATES], frames * 2 * units)
    clear(start)
    for g in range(2):
        multiply(
            x,
            wide,
            frames,
            row(weights, plan[GIVEN] + g * bottom * gates, bottom * gates),
            bottom,
            gates // LANES,
            row(weights, plan[GIVEN_BIAS] + g * gates, gates),
            _NO_STEP,
            given,
            gates,
        )
        held = start
        for k in range(frames):
            t = frames - 1 - k if g else k
            multiply(
                held,
                _NO_STEP,
                _ONE_ROW,
                row(weights, plan[RECURRENT] + g * units * gates, units * gates),
                units,
                gates // LANES,
                row(weights, plan[RECURRENT_BIAS] + g * gates, gates),
                _NO_STEP,
                sums,
                _NO_STEP,
            )
            now = row(states, (2 * t + g) * units, units)
            gate(row(given, t * gates, gates), sums, held, now)
            held = now
    first, inner = plan[FIRST], plan[INNER]
    raised = row(work, plan[RAISED], inner * bottom)
    multiply(
        row(states, first * 2 * units, inner * 2 * units),
        2 * units,
        inner,
        row(weights, plan[SPREAD], 2 * units * bottom),
        2 * units,
        bottom // LANES,
        row(weights, plan[SPREAD_BIAS], bottom),
        _NO_STEP,
        raised,
        bottom,
    )
    for t in range(inner):
        y, added = row(raised, t * bottom, bottom), row(x, (first + t) * wide, bottom)
        for k in range(bottom):
            y[k] += added[k]


@rounded_part
def _answer(plan: Plan, weights: Reals, spectra: Reals, level: np.float32, work: Reals) -> None:
    """Write the weighted sum of the drafts, and what is added along its phase.

    As :func:`_featurise`, of two products: which of them is fused with the sum is not left to the
    compiler, which chooses anew where this is compiled into another kernel.
    """
    drafts, bins, frames = plan[DRAFTS], plan[BINS], plan[FRAMES]
    spare, inner = plan[SPARE], plan[INNER]
    block = plan[BLOCKS + (2 * plan[LEVELS] - 1) * B_WORDS :]
    outputs = block[B_MADE]
    raised = row(work, plan[RAISED], inner * bins * outputs)
    logits = row(work, plan[LOGITS], bins * LANES)
    for t in range(inner - 2 * spare):
        multiply(
            row(raised, (spare + t) * bins * outputs, bins * outputs),
            outputs,
            bins,
            row(weights, plan[HEAD], outputs * LANES),
            outputs,
            _ONE_PANEL,
            row(weights, plan[HEAD_BIAS], LANES),
            _NO_STEP,
            logits,
            _NO_STEP + LANES,
        )
        y = row(work, plan[FILLED] + t * 2 * bins, 2 * bins)
        y_im = row(y, bins, bins)
        clear(y)
        for d in range(drafts):
            at = (d * frames + plan[FIRST] + spare + t) * 2 * bins
            x, x_im = row(spectra, at, bins), row(spectra, at + bins, bins)
            for k in range(bins):
                a, b = logits[k * LANES + 2 * d], logits[k * LANES + 2 * d + 1]
                y[k] += a * x[k] - b * x_im[k]
                y_im[k] += a * x_im[k] + b * x[k]
        for k in range(bins):
            more = logits[k * LANES + 2 * drafts]
            added = more if more > _LINEAR else log(_ONE + exp(more))
            size = np.sqrt(y[k] * y[k] + y_im[k] * y_im[k] + _SILENCE)
            grown = _ONE + added * level / (size + _DAMPING * level)
            y[k] *= grown
            y_im[k] *= grown
