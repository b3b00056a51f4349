"""Lags at which the newest samples of a stream resemble older ones.

Every lag of the last seconds has a running correlation with the newest samples, kept on a signal of
a few kHz whose spectrum was made flatter, so that a bass does not decide alone. A packet costs one
multiplication for each of its samples and each lag. The signal and the correlations stand in four
rows each, one for every fourth sample or lag, so that what is fetched serves four lags. The best
lags are put right to the sample at the stream's own rate, and the passages there are weighed by
least squares::

    lag     ────╮                 ╭── newest samples
    ...|~~ like ~~|....|~~ like ~~|.......|~~ now ~~|  gap
                  ▲               ▲                 ▲
                  ╰───── what followed then ────────┴── times a share, and added

Sums run in float32 but for the normal equations, which are few.
"""

import math

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import kernel

ROWS = 4
"""In which the search's signal and correlations stand: element ``i`` in row ``i % ROWS``."""
LINE_ROW = 36_992
"""Elements from one row of the signal, or of its powers, to the next: a constant, so that rows are
known to be apart when the kernels are compiled, and no multiple of a page, so that a store is not
taken for one of what is fetched next."""
LAG_ROW = 18_560
"""The same of the correlations: room for 72 000 lags, 8 s at 9 kHz."""

_FLATTEN = np.float32(0.95)
# Louder samples are no sound, and their squares might not be finite.
_LOUDEST = 1e15
# Columns of the correlations updated at a time: they stay in the first-level cache.
_TILE = 256
# Passages with less than this share of the newest samples' power (-6 dB) are not taken: played as
# loud as now, what followed them could be louder than anything.
_QUIET = np.float32(0.25)
# The bits of a float32 but its sign.
_MAGNITUDE = np.int32(0x7FFFFFFF)
# Share of a passage's energy that is added to the diagonal of the normal equations.
_RIDGE = 0.05


@kernel
def thin_flattened(
    line: NDArray[np.float32],
    begin: int,
    stop: int,
    stride: int,
    state: NDArray[np.float64],
    out: NDArray[np.float32],
) -> int:
    """Flatten a spectrum, and keep a mean of every few samples; return the number of means.

    Means of twice as many samples, weighted by a triangle: what lies above half the new rate, such
    as most of a cymbal, would otherwise say how the grid falls on it.

    Parameters
    ----------
    line : float32, shape (n,), a channel
    begin, stop : int, the next ones
    stride : int, samples that become one
    state : float64, shape (4,), read and written
        The last sample, the sums under the triangle that falls and the one that rises, and how
        many samples of the latter are there; zeros to begin with.
    out : float32, shape (at least (stop - begin) // stride + 1,), written
    """
    last, falling, rising = state[0], state[1], state[2]
    held = int(state[3])
    written = 0
    for i in range(begin, stop):
        sample = float(line[i])
        if not abs(sample) <= _LOUDEST:  # nor NaN: what is kept of it would never be gone again
            sample = 0.0
        flattened = sample - _FLATTEN * last
        last = sample
        falling += (stride - 1 - held) * flattened
        rising += (held + 1) * flattened
        held += 1
        if held == stride:
            out[written] = falling / (stride * stride)
            written += 1
            falling = rising
            rising = 0.0
            held = 0
    state[0], state[1], state[2], state[3] = last, falling, rising, held
    return written


@kernel
def follow_lags(
    fresh: NDArray[np.float32],
    count: int,
    begin: int,
    lags: int,
    decay: float,
    line: NDArray[np.float32],
    power: NDArray[np.float32],
    weights: NDArray[np.float32],
    correlation: NDArray[np.float32],
) -> None:
    """Take new samples into the correlation of every lag.

    Parameters
    ----------
    fresh : float32, shape (at least count,), new samples of the thinned signal
    count : int, how many
    begin : int
        Index of the first of them in the signal; at least ``lags``.
    lags : int
        A multiple of :data:`ROWS`, at most ``ROWS * LAG_ROW``.
    decay : float
        What the correlations keep from sample to sample.
    line : float32, shape (ROWS * LINE_ROW,), read and written, the thinned signal in rows
    power : float32, shape (ROWS * LINE_ROW,), read and written
        Power of the signal up to each sample, forgotten alike.
    weights : float32, shape (at least count + 2 * ROWS + 3,), written, scratch
    correlation : float32, shape (ROWS * LAG_ROW,), read and written
        In rows; element 0 is of lag ``lags``, the next of the lag before.
    """
    before = power[(begin - 1) % ROWS * LINE_ROW + (begin - 1) // ROWS]
    ahead = begin % ROWS
    blocks = (ahead + count + 2 * ROWS - 1) // (2 * ROWS)
    for i in range(2 * ROWS * blocks):
        weights[i] = 0.0
    weight = 1.0
    for i in range(count - 1, -1, -1):
        weights[ahead + i] = weight * fresh[i]
        weight *= decay
    for i in range(count):
        place = (begin + i) % ROWS * LINE_ROW + (begin + i) // ROWS
        line[place] = fresh[i]
        before = np.float32(decay * before + fresh[i] * fresh[i])
        power[place] = before
    forgotten = np.float32(weight)
    columns = lags // ROWS
    for first in range(0, columns, _TILE):
        n = min(_TILE, columns - first)
        for row in range(ROWS):
            part = correlation[row * LAG_ROW + first : row * LAG_ROW + first + n]
            for k in range(n):
                part[k] *= forgotten
        tile = correlation[first:]
        for block in range(blocks):
            i = 2 * ROWS * block
            a, b, c, d = weights[i], weights[i + 1], weights[i + 2], weights[i + 3]
            e, f, g, h = weights[i + 4], weights[i + 5], weights[i + 6], weights[i + 7]
            past = line[begin // ROWS + 2 * block - columns + first :]
            for k in range(n):
                p0, p4, p8 = past[k], past[k + 1], past[k + 2]
                p1, p5, p9 = past[k + LINE_ROW], past[k + LINE_ROW + 1], past[k + LINE_ROW + 2]
                p2, p6 = past[k + 2 * LINE_ROW], past[k + 2 * LINE_ROW + 1]
                p3, p7 = past[k + 3 * LINE_ROW], past[k + 3 * LINE_ROW + 1]
                p10 = past[k + 2 * LINE_ROW + 2]
                tile[k] += a * p0 + b * p1 + c * p2 + d * p3 + e * p4 + f * p5 + g * p6 + h * p7
                tile[k + LAG_ROW] += (
                    a * p1 + b * p2 + c * p3 + d * p4 + e * p5 + f * p6 + g * p7 + h * p8
                )
                tile[k + 2 * LAG_ROW] += (
                    a * p2 + b * p3 + c * p4 + d * p5 + e * p6 + f * p7 + g * p8 + h * p9
                )
                tile[k + 3 * LAG_ROW] += (
                    a * p3 + b * p4 + c * p5 + d * p6 + e * p7 + f * p8 + g * p9 + h * p10
                )


@kernel
def best_lags(
    correlation: NDArray[np.float32],
    power: NDArray[np.float32],
    size: int,
    last: int,
    least: int,
    most: int,
    every: NDArray[np.float32],
    lags: NDArray[np.int64],
    scores: NDArray[np.float32],
) -> int:
    """Write the lags that resemble the newest samples most, the best first; return how many.

    No more than one of those that stand in a column: its neighbours are the same passage.

    Parameters
    ----------
    correlation, power, size
        As :func:`follow_lags` keeps them, and its ``lags``.
    last : int, index of the newest sample
    least, most : int
        Lags to look at, whole columns of them.
    every : float32, shape (ROWS * LAG_ROW,), written, scratch
    lags : int64, shape (n,), written
    scores : float32, shape (n,), written
        Squared correlation over both powers: 0 to 1.
    """
    newest = power[last % ROWS * LINE_ROW + last // ROWS]
    floor = max(_QUIET * newest, np.float32(1e-30))
    begin = (size - most + ROWS - 1) // ROWS
    columns = max((size - least + 1) // ROWS - begin, 0)
    for row in range(ROWS):
        there = last - size + row
        source = there % ROWS * LINE_ROW + there // ROWS + begin
        energies = power[source : source + columns]
        values = correlation[row * LAG_ROW + begin : row * LAG_ROW + begin + columns]
        out = every[row * LAG_ROW : row * LAG_ROW + columns]
        for k in range(columns):
            # Opposite sign is as good: a share may be negative.
            score = values[k] * values[k] / max(energies[k], floor)
            out[k] = score if energies[k] > floor else np.float32(0.0)
    found = 0
    least_score = np.float32(0.0)
    for k in range(columns):
        best = least_score
        at = -1
        for row in range(ROWS):
            if every[row * LAG_ROW + k] > best:
                best = every[row * LAG_ROW + k]
                at = row
        if at < 0:
            continue
        place = found if found < lags.size else found - 1
        found = place + 1
        while place > 0 and scores[place - 1] < best:
            scores[place] = scores[place - 1]
            lags[place] = lags[place - 1]
            place -= 1
        scores[place] = best
        lags[place] = size - ROWS * (begin + k) - at
        if found == lags.size:
            least_score = scores[found - 1]
    for i in range(found):
        scores[i] /= newest
    return found


@kernel
def flattened_at(ring: NDArray[np.float32], end: int, out: NDArray[np.float32]) -> None:
    """Write the samples of a ring, their spectrum flattened.

    Parameters
    ----------
    ring : float32, shape (size,), a channel
    end : int
        Index after the last sample wanted, modulo the size.
    out : float32, shape (n,), written, at most as long as the ring
    """
    n = out.size
    begin = (end - n) % ring.size
    first = min(n, ring.size - begin)
    # What comes before index 0 is the ring's end.
    out[0] = ring[begin] - _FLATTEN * ring[begin - 1]
    _flatten(ring[begin : begin + first], out[:first])
    if first < n:
        out[first] = ring[0] - _FLATTEN * ring[-1]
        _flatten(ring[: n - first], out[first:])


@kernel
def _flatten(line: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    for i in range(1, line.size):
        out[i] = line[i] - _FLATTEN * line[i - 1]


@kernel
def refine_lags(
    ring: NDArray[np.float32],
    position: int,
    slack: int,
    template: NDArray[np.float32],
    around: NDArray[np.float32],
    lags: NDArray[np.int64],
) -> None:
    """Move each lag to the nearest maximum of the correlation.

    Parameters
    ----------
    ring : float32, shape (size,), a channel
    position : int, where its next sample will stand
    slack : int, how far a lag may move
    template : float32, shape (n,), written, scratch: the newest samples
    around : float32, shape (n + 2 * slack,), written, scratch
    lags : int64, shape (found,), read and written
    """
    n = template.size
    flattened_at(ring, position, template)
    floor = 1e-20
    for i in range(n):
        floor += 1e-3 * template[i] * template[i]
    for index in range(lags.size):
        centre = lags[index]
        flattened_at(ring, position - centre + slack, around)
        energy = 0.0
        for i in range(n):
            energy += around[i] * around[i]
        best = -1.0
        for shift in range(2 * slack + 1):
            part = around[shift : shift + n]
            product = np.float32(0.0)
            for i in range(n):
                product += template[i] * part[i]
            score = np.float64(product) * product / max(energy, floor)
            if score > best:
                best = score
                lags[index] = centre + slack - shift
            if shift < 2 * slack:
                left, right = np.float64(around[shift]), np.float64(around[shift + n])
                energy += right * right - left * left


@kernel
def _products(
    line: NDArray[np.float32],
    others: NDArray[np.float32],
    count: int,
    out: NDArray[np.float64],
) -> None:
    """Write the inner products of a line with others: four at a time, which reads it less often."""
    n = line.size
    for k in range(0, count - count % 4, 4):
        first, second, third, fourth = others[k], others[k + 1], others[k + 2], others[k + 3]
        a = np.float32(0.0)
        b = np.float32(0.0)
        c = np.float32(0.0)
        d = np.float32(0.0)
        for i in range(n):
            a += line[i] * first[i]
            b += line[i] * second[i]
            c += line[i] * third[i]
            d += line[i] * fourth[i]
        out[k], out[k + 1], out[k + 2], out[k + 3] = a, b, c, d
    for k in range(count - count % 4, count):
        other = others[k]
        a = np.float32(0.0)
        for i in range(n):
            a += line[i] * other[i]
        out[k] = a


@kernel
def _solve(normal: NDArray[np.float64], right: NDArray[np.float64], size: int) -> None:
    """Solve positive definite equations in place, given the lower triangle."""
    for j in range(size):
        for k in range(j + 1):
            value = normal[j, k]
            for i in range(k):
                value -= normal[j, i] * normal[k, i]
            normal[j, k] = np.sqrt(value) if j == k else value / normal[k, k]
    for j in range(size):
        for i in range(j):
            right[j] -= normal[j, i] * right[i]
        right[j] /= normal[j, j]
    for j in range(size - 1, -1, -1):
        for i in range(j + 1, size):
            right[j] -= normal[i, j] * right[i]
        right[j] /= normal[j, j]


@kernel
def weigh_passages(
    ring: NDArray[np.float32],
    position: int,
    lags: NDArray[np.int64],
    template: NDArray[np.float32],
    passages: NDArray[np.float32],
    normal: NDArray[np.float64],
    shares: NDArray[np.float64],
) -> None:
    """Write the weights of passages that best sum to the newest samples.

    Least squares with a little ridge, on flattened spectra, by Cholesky. Those that are too quiet
    have no share.

    Parameters
    ----------
    ring, position : as for :func:`refine_lags`
    lags : int64, shape (found,), of the passages
    template : float32, shape (n,), written, scratch: the newest samples
    passages : float32, shape (at least found, n), written, scratch
    normal : float64, shape (at least found, at least found), written, scratch
    shares : float64, shape (at least found,), written
    """
    found = lags.size
    n = template.size
    flattened_at(ring, position, template)
    for j in range(found):
        passage = passages[j]
        flattened_at(ring, position - lags[j], passage)
        product = np.float32(0.0)
        for i in range(n):
            product += passage[i] * template[i]
        shares[j] = product
        _products(passage, passages, j + 1, normal[j])
    energy = 0.0
    for i in range(n):
        energy += template[i] * template[i]
    for j in range(found):
        if normal[j, j] < _QUIET * energy:
            shares[j] = 0.0
            for k in range(j):
                normal[j, k] = 0.0
            for k in range(j + 1, found):
                normal[k, j] = 0.0
        normal[j, j] += _RIDGE * normal[j, j] + 1e-12
    _solve(normal, shares, found)


@kernel
def _add_scaled(
    share: np.float32,
    line: NDArray[np.float32],
    bits: NDArray[np.int32],
    out: NDArray[np.float32],
    largest: np.int32,
) -> np.int32:
    """Add a share of a line to ``out``; return the bits of its largest magnitude, if larger."""
    for i in range(line.size):
        out[i] += share * line[i]
    for i in range(bits.size):
        largest = max(largest, np.int32(bits[i] & _MAGNITUDE))
    return largest


@kernel
def add_passages(
    ring: NDArray[np.float32],
    position: int,
    lags: NDArray[np.int64],
    shares: NDArray[np.float64],
    past: int,
    peak: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Write the sum of the passages, around the gap's beginning.

    Parameters
    ----------
    ring, position : as for :func:`refine_lags`
    lags : int64, shape (found,)
        Each at least as long as what is written of the gap.
    shares : float64, shape (at least found,), of each
    past : int, samples before the gap
    peak : float32, shape (1,), written
        The largest sample in any of the passages that have a share.
    out : float32, shape (past + gap,), written
    """
    n = out.size
    # As integers the bits of floats without their sign stand in the floats' order, and the largest
    # is found many at a time.
    bits = ring.view(np.int32)
    largest = peak.view(np.int32)
    largest[0] = 0
    for i in range(n):
        out[i] = 0.0
    for j in range(lags.size):
        if shares[j] == 0.0:
            continue
        share = np.float32(shares[j])
        begin = (position - lags[j] - past) % ring.size
        first = min(n, ring.size - begin)
        rest = n - first
        largest[0] = _add_scaled(
            share, ring[begin : begin + first], bits[begin : begin + first], out[:first], largest[0]
        )
        largest[0] = _add_scaled(share, ring[:rest], bits[:rest], out[first:], largest[0])


@kernel
def innovation_share(
    taps: NDArray[np.float64],
    line: NDArray[np.float32],
    passages: NDArray[np.float32],
    every: int,
) -> float:
    """Return how much of the passages' innovation is in the signal's: 0 to 1.

    The innovation is what a linear predictor did not foresee. Where the signal repeats itself that
    of the passages is its own; where both only hold the same tones it is not.

    Parameters
    ----------
    taps : float64, shape (order,), of :func:`plc_kernels.signal.ar.taps_of`
    line, passages : float32, shape (n,)
        The signal up to the gap, and the passages' sum there; more than ``order`` samples.
    every : int, step between the innovations that are used

    Returns
    -------
    float
        The root of the share that least squares gives, no less than 0 and no more than 1. What the
        passages have that the signal has not makes that share too small, most of all at high
        frequencies, where innovations are strong and little is heard: the root is worth 0.4 dB on
        music that repeats itself and costs nothing on what does not. Where the passages are only
        louder than the signal, it is the share itself.
    """
    order = taps.size
    both = 0.0
    own = 1e-20
    wanted = 0.0
    for i in range(order, line.size, every):
        seen = line[i - order : i]
        heard = passages[i - order : i]
        of_line = 0.0
        of_passages = 0.0
        for k in range(order):
            of_line += taps[k] * seen[k]
            of_passages += taps[k] * heard[k]
        of_line = line[i] - of_line
        of_passages = passages[i] - of_passages
        both += of_line * of_passages
        own += of_passages * of_passages
        wanted += of_line * of_line
    quieter = math.sqrt(min(wanted / own, 1.0))
    return math.sqrt(min(max(both / own, 0.0), 1.0) * quieter)
