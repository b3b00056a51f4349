"""Fill gaps of a recording from both sides, with all the time there is.

Three qualities, each the start of the next, and a network that improves on the last two:

``fast``
    What a :class:`~plc.Concealer` with lookahead does, at an order and past that only an offline
    fit can afford: a forward and a backward prediction, each weighted by how well it meets the
    samples on the other side.
``good``
    Those are then replaced by the samples that leave the least prediction error over the gap and
    the ``order`` samples after it: least-squares autoregressive interpolation [1]_, a linear
    system with the autocorrelation of the predictor as its matrix. A tone whose phase the two
    predictions disagree on is bent to meet both. Three predictors, of short and long contexts,
    interpolate each for itself, and the mean is taken: which context is the right one depends
    on the signal, and the errors of the three are not the same.
``best``
    Gap-wise Janssen [1]_ [2]_: the predictors, five of them, are fitted again with the gap filled
    by their mean, and interpolate once more. (Each iterating by itself, as in the papers, is
    0.5 dB worse than a single round on voices and at 40 ms gaps of instruments.)

The network (:mod:`plc.networks.inpaint`) is given the result and each side's own continuation,
and weighs them bin by bin; it is trained with ``good``. Where the predictors agree with each other
it has nothing to add: their errors are then as small as the differences between them.

The system is solved by its Cholesky factor and never regularised: at the peaks of a tonal
spectrum its eigenvalues are 1e-8 of its diagonal and below, and they are what carries the tones.

References
----------
.. [1] A. Janssen, R. Veldhuis, L. Vries, "Adaptive interpolation of discrete-time signals that can
   be modeled as autoregressive processes", IEEE Trans. ASSP 34 (2), 1986.
.. [2] O. Mokrý and P. Rajmic, "Autoregressive audio inpainting: gap-wise and frame-wise", 2024,
   arXiv 2403.04433.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plc.engine.config import StreamConfig
from plc.engine.fill_limit import hold_between
from plc.engine.methods import LADDER_METHODS, make_filler
from plc.engine.samples import Packet
from plc.engine.warm import warm_up
from plc.engine.whole import check_signal
from plc.errors import ConfigError, PacketError
from plc.limits import RECOVERY_MS
from plc.networks.inpaint import Refiner, open_refiner
from plc.predict.filler import Filler
from plc.predict.history import History
from plc.predict.ladder import Rung
from plc.predict.linear import ArFiller
from plc.predict.sides import SIDE_RUNG
from plc.predict.similar import REACH_S
from plc_kernels.ar import fit_burg
from plc_kernels.fade import crossfade_ramp
from plc_kernels.packet import INT16_SCALE
from plc_kernels.toeplitz import solve_toeplitz

CONTEXT_S = 0.5
"""What is looked at on each side of a gap, at most."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How much is spent on a gap."""

    interpolators: int
    """Predictors of which the mean is taken."""
    rounds: int
    """Times that they are fitted and interpolate."""


QUALITIES = {"fast": Quality(0, 0), "good": Quality(3, 1), "best": Quality(5, 2)}
"""Name to effort."""

# All chosen on the validation clips at 16 kHz and 64 ms gaps; docs/design.md has the table.
_INTERPOLATORS = (
    Rung(93.75, 500.0),
    Rung(62.5, 160.0),
    Rung(43.75, 312.5),
    Rung(62.5, 500.0),
    Rung(31.25, 125.0),
)
_LEAST_ORDER = 8
# An interpolation that gets louder than its surroundings by more than this went wrong.
_OVERSHOOT = 1.5
# Longer gaps are left to the blend: what the interpolation adds is lost in the middle of them, and
# its cost and memory grow with the square of the length.
LONGEST_REFINED_GAP = 4096
"""Samples of the longest gap that ``good`` and ``best`` refine; longer ones get the draft."""

_Report = Callable[[int, int], None]


def inpaint(
    signal: Packet,
    sample_rate: int,
    gaps: Sequence[tuple[int, int]],
    *,
    quality: str = "good",
    method: str = "auto",
    model: str = "auto",
    progress: _Report | None = None,
) -> Packet:
    """Return a signal with its gaps filled; every sample outside them is as it was.

    Parameters
    ----------
    signal : float32 or int16, shape (n,) or (n, channels)
        Samples; what stands in the gaps is not looked at.
    sample_rate : int
        8000 to 192000 Hz.
    gaps : sequence of (start, stop)
        In samples, stop excluded; in any order, and overlapping ones are merged.
    quality : str
        ``"fast"``, ``"good"`` or ``"best"``; only for the methods ``auto`` and ``ar``. Gaps of more
        than :data:`LONGEST_REFINED_GAP` samples are filled as by ``"fast"``.
    method : str
        One of :data:`~plc.METHODS`, or ``burg:ORDER_MS/PAST_MS``; ``lpc`` sees 2048 samples on
        each side, as in the paper.
    model : str
        Network that improves on what ``"good"`` and ``"best"`` made, for the method ``auto``: the
        package's (``"auto"``), none (``"ar"``), or a name or path. ``"auto"`` uses none where ONNX
        Runtime is not installed.
    progress : callable, optional
        Called after each gap with the gaps filled and the gaps in all.

    Returns
    -------
    float32 or int16, shape of ``signal``
        A copy.

    Raises
    ------
    PacketError
        If the signal's shape or dtype is not one of the above, or it holds NaN outside the gaps.
    ConfigError
        If a gap, the quality or the method is not possible.
    ModelError, MissingExtraError
        If a model that was asked for cannot be used.
    """
    return fill_gaps(signal, sample_rate, gaps, (), quality, method, model, progress)


def fill_gaps(
    signal: Packet,
    sample_rate: int,
    gaps: Sequence[tuple[int, int]],
    made: Sequence[tuple[int, int]],
    quality: str,
    method: str,
    model: str,
    progress: _Report | None = None,
) -> Packet:
    """Return a signal with its gaps filled, of which parts were filled before.

    Parameters
    ----------
    signal, sample_rate, gaps, quality, method, model, progress
        As for :func:`inpaint`.
    made : sequence of (start, stop)
        Stretches before the gaps, in order, that are no part of the recording but fills: a gap is
        filled from them, too, but no louder for them.
    """
    if quality not in QUALITIES:
        raise ConfigError(f"quality is {quality!r}; known: {', '.join(QUALITIES)}")
    check_signal(signal)
    channels = signal.size // signal.shape[0]
    config = StreamConfig(
        sample_rate=sample_rate, channels=channels, method=method, budget_ms=float("inf")
    )
    rows = np.array(signal.reshape(signal.shape[0], -1).T, np.float32, order="C")
    if signal.dtype == np.int16:
        rows /= np.float32(INT16_SCALE)
    merged = merge_gaps(gaps, rows.shape[1])
    warm_up()
    _check_finite(rows, merged)
    for start, stop in merged:
        rows[:, start:stop] = 0.0
    _make_filler(config, 0)  # an unknown method is an error without gaps, too
    network = None
    if QUALITIES[quality].rounds and method == "auto":
        network = open_refiner(model, config.sample_rate)
    fills = list(made)
    for k, (start, stop, end) in enumerate(with_known_ends(merged, rows.shape[1]), start=1):
        _fill(rows, config, start, stop, end, fills, quality, network)
        fills.append((start, stop))
        if progress is not None:
            progress(k, len(merged))
    return _into(signal, rows, merged)


def merge_gaps(gaps: Sequence[tuple[int, int]], samples: int) -> list[tuple[int, int]]:
    """Return the gaps in order, overlapping and touching ones as one.

    Raises
    ------
    ConfigError
        If a gap is empty or reaches past the ``samples`` there are.
    """
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(_as_samples(gap) for gap in gaps):
        if not 0 <= start < stop <= samples:
            raise ConfigError(
                f"gap {start}:{stop} does not fit a signal of {samples} samples; "
                "give 0 <= start < stop <= samples"
            )
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def with_known_ends(gaps: list[tuple[int, int]], samples: int) -> list[tuple[int, int, int]]:
    """Return merged gaps as (start, stop, end): what follows a gap is known from stop to end."""
    ends = [start for start, _ in gaps[1:]] + [samples]
    # Without gaps there is still one end.
    return [(start, stop, end) for (start, stop), end in zip(gaps, ends, strict=False)]


def _as_samples(gap: tuple[int, int]) -> tuple[int, int]:
    try:
        start, stop = gap
        return operator.index(start), operator.index(stop)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"gap is {gap!r}; give (start, stop) in samples, two integers") from error


def _check_finite(rows: NDArray[np.float32], gaps: list[tuple[int, int]]) -> None:
    unsound: NDArray[np.bool_] = np.logical_not(np.isfinite(rows).all(axis=0))
    for start, stop in gaps:
        unsound[start:stop] = False
    if unsound.any():
        raise PacketError(
            f"sample {int(np.argmax(unsound))} is not finite; list it in gaps to have it filled"
        )


def _into(signal: Packet, rows: NDArray[np.float32], gaps: list[tuple[int, int]]) -> Packet:
    out = signal.copy()
    view = out.reshape(signal.shape[0], -1)
    for start, stop in gaps:
        filled = rows[:, start:stop].T
        if signal.dtype == np.int16:
            filled = np.clip(np.rint(filled * np.float32(INT16_SCALE)), -32768, 32767)
        view[start:stop] = filled
    return out


def _fill(
    rows: NDArray[np.float32],
    config: StreamConfig,
    start: int,
    stop: int,
    end: int,
    fills: list[tuple[int, int]],
    quality: str,
    network: Refiner | None,
) -> None:
    """Fill ``rows[:, start:stop]``; samples from ``stop`` to ``end`` are known.

    Those before ``start`` are, but for ``fills``.
    """
    context = round(CONTEXT_S * config.sample_rate)
    before = rows[:, max(0, start - context) : start]
    after = rows[:, stop : min(end, stop + context)]
    gap = rows[:, start:stop]
    filler = _make_filler(config, max(gap.shape[1], after.shape[1]))
    bend = round(config.sample_rate * RECOVERY_MS / 1000.0)
    if not before.shape[1]:
        # Nothing before: predict backwards from what comes after.
        _run(filler, after[:, ::-1], after[:, :0], bend, gap[:, ::-1])
        hold_between((after,), config.sample_rate, gap)
        return
    _run(filler, before, after, bend, gap)
    sizes = (gap.shape[1], before.shape[1], after.shape[1])
    if refines(quality, config.method) and refinable(*sizes):
        for c in range(rows.shape[0]):
            doubt_db = _interpolate(
                rows[c], config.sample_rate, start, stop, end, QUALITIES[quality]
            )
            if network is not None:
                network.refine(rows[c], start, stop, end, doubt_db)
    known = _without(before, start - before.shape[1], fills)
    hold_between((known, after), config.sample_rate, gap)


def _without(
    before: NDArray[np.float32], first: int, fills: list[tuple[int, int]]
) -> NDArray[np.float32]:
    """Return what is left of ``before``, which begins at ``first``, without the fills in it."""
    known = np.ones(before.shape[1], np.bool_)
    for start, stop in reversed(fills):
        if stop <= first:
            break
        known[max(0, start - first) : stop - first] = False
    return before if known.all() else before[:, known]


def _make_filler(config: StreamConfig, reach: int) -> Filler:
    if config.method not in LADDER_METHODS:
        return make_filler(config, reach)
    return ArFiller(
        config.sample_rate, config.channels, config.packet_samples, reach=reach, rung=SIDE_RUNG
    )


def _run(
    filler: Filler,
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    bend: int,
    gap: NDArray[np.float32],
) -> None:
    history = History(before.shape[0], max(filler.past_samples, 1))
    history.append(before, trusted=True)
    filler.begin(history)
    out = np.zeros(gap.shape, np.float32)
    landed = False
    if filler.bridges and after.shape[1]:
        landed = filler.bridge(history, np.ascontiguousarray(after), out)
    else:
        filler.extend(out)
    if not landed and after.shape[1] and filler.crossfades:
        _land(filler, after, bend, out)
    gap[:] = out


def _land(filler: Filler, after: NDArray[np.float32], bend: int, out: NDArray[np.float32]) -> None:
    """Bend the end of a gap to meet the first sample after it, which may not be touched."""
    beyond = np.zeros((out.shape[0], 1), np.float32)
    filler.extend(beyond)
    n = min(bend, out.shape[1])
    out[:, out.shape[1] - n :] += crossfade_ramp(n) * (after[:, :1] - beyond)


def _interpolate(
    row: NDArray[np.float32], sample_rate: int, start: int, stop: int, end: int, quality: Quality
) -> float:
    """Replace the draft in ``row[start:stop]`` by the mean of several interpolations.

    Return by how much these disagree, relative to their mean, in dB: infinite if one of them could
    not be made.
    """
    doubt_db = float("inf")
    for _ in range(quality.rounds):
        draft = row[start:stop].astype(np.float64)
        made = [
            _interpolated(row, sample_rate, start, stop, end, rung)
            for rung in _INTERPOLATORS[: quality.interpolators]
        ]
        fills = np.stack([draft if fill is None else fill for fill in made])
        row[start:stop] = fills.mean(axis=0)
        doubt_db = _doubt_db(fills) if all(fill is not None for fill in made) else float("inf")
    return doubt_db


def _doubt_db(fills: NDArray[np.float64]) -> float:
    """Return by how much fills, shape (fills, n), disagree, in dB relative to their mean."""
    mean = fills.mean(axis=0)
    if not mean.any():
        return float("inf")
    power = max(float(fills.var(axis=0, ddof=1).sum()), float(np.finfo(np.float64).tiny))
    return float(10.0 * np.log10(power / float(mean @ mean)))


def _interpolated(
    row: NDArray[np.float32], sample_rate: int, start: int, stop: int, end: int, rung: Rung
) -> NDArray[np.float64] | None:
    """Return the gap as the predictor of its surroundings has it; None if it has none."""
    context = round(rung.past_ms * sample_rate / 1000.0)
    first = max(0, start - context)
    line = row[first : min(end, stop + context)].astype(np.float64)
    begin = start - first
    length = stop - start
    order = round(rung.order_ms * sample_rate / 1000.0)
    order = min(order, begin, line.size - begin - length, line.size // 4)
    if order < _LEAST_ORDER or not line.any():
        return None
    gap = solve_gap(line, begin, length, fit_burg(line, order))
    if gap is None or not np.abs(gap).max() <= _OVERSHOOT * np.abs(line).max():
        return None
    return gap


def context_s(quality: str, method: str, model: str) -> float:
    """Return how much of a signal on either side of a gap has a say in its filling, in seconds."""
    networks = refines(quality, method) and method == "auto" and model != "ar"
    return REACH_S if networks else CONTEXT_S


def refines(quality: str, method: str) -> bool:
    """Tell whether gaps are interpolated at all, and not just drafted."""
    return QUALITIES[quality].rounds > 0 and method in LADDER_METHODS


def refinable(gap: int, before: int, after: int) -> bool:
    """Tell whether a gap of so many samples, with so many known around it, can be interpolated."""
    return gap <= LONGEST_REFINED_GAP and min(before, after) >= _LEAST_ORDER


def solve_gap(
    line: NDArray[np.float64], begin: int, length: int, predictor: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Return the samples of a gap that leave the least squared prediction error.

    Parameters
    ----------
    line : float64, shape (n,)
        Samples; known for ``order`` of them on each side of the gap.
    begin, length : int
        First sample of the gap, and its samples.
    predictor : float64, shape (order + 1,)
        ``predictor[0] = 1``.

    Returns
    -------
    float64, shape (length,), or None
        None if rounding left the system without a solution.

    Notes
    -----
    Equations (10)-(12) of [1]_ in the module: ``B x = -z``, where ``B[i, j]`` is the
    autocorrelation of the predictor at lag ``|i - j|`` and ``z`` what the known samples add.
    """
    order = predictor.size - 1
    around = line[begin - order : begin + length + order].copy()
    around[order : order + length] = 0.0
    error = np.convolve(around, predictor)[order : order + length + order]
    known = np.correlate(error, predictor, "valid")
    correlation = np.correlate(predictor, predictor, "full")[order:]
    column = np.zeros(length)
    column[: min(length, order + 1)] = correlation[:length]
    gap = -known
    solved = solve_toeplitz(column, np.empty((length, length)), np.empty((2, length)), gap)
    return gap if solved else None
