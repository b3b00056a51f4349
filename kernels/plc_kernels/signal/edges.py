"""Damaged samples at the end of the known ones, found by a short linear predictor."""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import kernel
from plc_kernels.signal.ar import burg, extrapolate, taps_of
from plc_kernels.signal.packet import INT16_SCALE

EDGE_SAMPLES = 16
"""No more of them are looked at."""
LEAST_EDGE_SAMPLES = 96 + EDGE_SAMPLES
"""Fewer samples say nothing."""
# Lengths of the predictor, and of the samples that it is fitted to.
_ORDER_MS, _PAST_MS = 2.0, 30.0
# Below that RMS of what it is fitted to a muted sample is neither heard nor told from others.
_QUIET = 1e-3
# What 16 bits hold as zero is muted, what lies at full scale clipped.
_MUTED, _CLIPPED = np.float32(0.5 / INT16_SCALE), np.float32(0.99)
# How far a sample lies from its prediction, relative to the largest error before: a muted or
# clipped one, and any other. Chosen on 19 000 edges of the training clips: with these 4 that are
# intact are taken for damaged, and what muting and clipping leave unfound is about 1 % of their
# error's energy.
_STRANGE, _JUMP = 0.5, 12.0


class EdgeSpace(NamedTuple):
    """Memory of :func:`count_damaged`.

    ``errors`` float32 (2, n), of the fit; ``fit`` float64 (3, order + 1), the predictor and what it
    is made with; ``line`` float64 (n,), errors of the prediction, then what is predicted.
    """

    errors: NDArray[np.float32]
    fit: NDArray[np.float64]
    line: NDArray[np.float64]

    @classmethod
    def allocate(cls, samples: int, order: int) -> Self:
        """Return memory for so many samples and a predictor of this order."""
        return cls(np.empty((2, samples), np.float32), np.empty((3, order + 1)), np.empty(samples))


@kernel
def edge_sizes(rate: int) -> tuple[int, int]:
    """Return the samples that are looked at, and the order of the predictor, at a rate in Hz."""
    samples = int(np.rint(rate * _PAST_MS / 1000.0)) + EDGE_SAMPLES
    return max(samples, LEAST_EDGE_SAMPLES), int(np.rint(rate * _ORDER_MS / 1000.0))


@kernel
def count_damaged(x: NDArray[np.float32], order: int, jumps: bool, space: EdgeSpace) -> int:
    """Count the damaged samples at the end of a channel: muted, or clipped.

    Parameters
    ----------
    x : float32, shape (n,)
        Samples, at least :data:`LEAST_EDGE_SAMPLES` and no more than the space is for.
    order : int, from :func:`edge_sizes`
    jumps : bool
        Whether a jump to any other level is damage, too. Where nothing tells that samples are lost,
        it is an onset: of 50 000 ends of packets of intact speech 22 jump so, and 1 looks muted.
    space : EdgeSpace, written
    """
    known = x.size - EDGE_SAMPLES
    edge = x[known:]
    energy = 0.0
    for i in range(known):
        energy += float(x[i]) * float(x[i])
    run, loud = 0, energy > known * _QUIET * _QUIET
    clipped = abs(x[x.size - 1]) >= _CLIPPED
    while run < EDGE_SAMPLES and _is_odd(edge[EDGE_SAMPLES - 1 - run], clipped, loud):
        run += 1
    if not energy > 0.0 or not (run or jumps):
        return 0
    order = min(order, known // 3)
    burg(order, x[:known], space.errors[0], space.errors[1], space.fit[0], space.fit[1])
    errors = space.line[: x.size]
    _errors(x, space.fit[1, : order + 1], errors)
    usual = 0.0
    for i in range(order, known):
        usual = max(usual, errors[i])
    strange = errors[known:]
    for i in range(EDGE_SAMPLES - run, EDGE_SAMPLES):
        if strange[i] > _STRANGE * usual:
            return run
    if not jumps:
        return 0
    for i in range(EDGE_SAMPLES):
        if strange[i] > _JUMP * usual:
            return EDGE_SAMPLES - i
    return 0


@kernel
def _is_odd(sample: np.float32, clipped: bool, loud: bool) -> bool:
    """Return whether a sample is clipped; or else, among loud ones, muted."""
    return bool(abs(sample) >= _CLIPPED if clipped else loud and abs(sample) < _MUTED)


@kernel
def is_extreme(sample: np.float32) -> bool:
    """Return whether a sample is zero in 16 bits, or at full scale."""
    return bool(abs(sample) < _MUTED or abs(sample) >= _CLIPPED)


@kernel
def _errors(
    x: NDArray[np.float32], predictor: NDArray[np.float64], errors: NDArray[np.float64]
) -> None:
    """Write the size of each sample's error; none for the first ones, which have no past."""
    order = predictor.size - 1
    found = errors[order:]
    errors[:] = 0.0
    for k in range(order + 1):
        weight = predictor[k]
        before = x[order - k : x.size - k]
        for i in range(found.size):
            found[i] += weight * before[i]
    for i in range(found.size):
        found[i] = abs(found[i])


@kernel
def mend_end(x: NDArray[np.float32], count: int, order: int, space: EdgeSpace) -> None:
    """Predict the last samples from those before; after :func:`count_damaged`.

    ``count`` are damaged of ``x``, float32, shape (n,); ``order`` and ``space`` are as for that.
    """
    order = min(order, (x.size - EDGE_SAMPLES) // 3)
    taps, line = space.fit[2, :order], space.line[: order + count]
    taps_of(space.fit[1, : order + 1], taps)
    begin = x.size - count - order
    for i in range(order):
        line[i] = x[begin + i]
    extrapolate(taps, line)
    for i in range(count):
        x[begin + order + i] = line[order + i]
