"""Clicks in pauses: impulses with nothing but a quiet background on either side.

There a predictor has nothing to predict, and the level falls before the click and rises at it as
at a hole. So these are looked for first, by level alone, and holes in what is left without them. A
stroke rings on; a click is over at once, and the background behind it is that before it. What a
mouth makes in a pause is longer, or has few frequencies (:mod:`plc.restore.detect.clicks`).
"""

import numpy as np
from numpy.typing import NDArray

from plc.restore.detect.clicks import NARROW_CONFIDENCE, damaged, flatness
from plc.restore.detect.findings import Finding, runs

# Reach of a click; reach of its background; reach of its tail; largest tail over the background.
_NEAR_MS, _FAR_MS = 1.6, 12.0
_TAIL_MS, _TAIL_RATIO = 4.5, 2.0
# Reach in which a click is alone; largest other peak there over its own.
_ALONE_MS, _ALONE_SHARE = 25.0, 0.2
# Loudest background of a pause; largest ratio of the backgrounds before and behind.
_PAUSE_RMS, _SIDES_RATIO = 10 ** (-46 / 20), 3.0
# Least peak of a click over the background; least peak, of full scale; least sample of a click over
# the background; least sample, of full scale; least background: half a 16-bit step.
_PEAK_RATIO, _LEAST_PEAK = 8.0, 3e-3
_INSIDE_RATIO, _LEAST_INSIDE = 3.0, 2e-4
_NOISE = 1.5e-5
# Frame in a channel of intended clicks; most frames of a short sound; fewest sounds; least share of
# short sounds; largest share of sounding frames; least median rise of power at a sound.
_FRAME_MS, _SHORT_FRAMES, _FEWEST, _SHORT_SHARE, _SOUNDING = 5.0, 3, 8, 0.9, 0.08
_RISE = 10.0
# Largest sample of silence: a few 16-bit steps.
_SILENT = 1e-4
# Length above which a click may be a mouth's; share of the peak that samples of that length exceed.
_SHORT_MS, _LENGTH_SHARE = 1.2, 0.1
# Spectral flatness below which a click may be a mouth's; sound on either side in its spectrum.
_FLATNESS, _AROUND_MS = 0.45, 0.3
# Confidence of short clicks; confidence of long clicks.
CONFIDENCE, LONG_CONFIDENCE = 0.95, 0.9
"""Confidence of short and long clicks."""


def find(row: NDArray[np.float32], sample_rate: int) -> list[Finding]:
    """Return the clicks in the pauses of one channel."""
    ms = sample_rate / 1000
    near, tail, far, alone = (round(each * ms) for each in (_NEAR_MS, _TAIL_MS, _FAR_MS, _ALONE_MS))
    height = np.abs(row.astype(np.float64))
    sums = np.concatenate([[0.0], np.cumsum(np.square(height))])
    before, behind = _rms(sums, -far, -near), _rms(sums, near, far)
    loud, quiet = np.maximum(before, behind), np.minimum(before, behind)
    high = (height > np.maximum(_PEAK_RATIO * loud, _LEAST_PEAK)) & (loud < _PAUSE_RMS)
    high &= loud < _SIDES_RATIO * quiet
    high &= _rms(sums, near, tail) < _TAIL_RATIO * behind
    high[:far], high[max(0, height.size - far) :] = False, False
    found = []
    for first, last in _groups(high, near):
        place = first + int(np.argmax(height[first:last]))
        peak = height[place]
        around = np.concatenate(
            [height[max(0, place - alone) : place - near], height[place + near : place + alone]]
        )
        if around.max() > _ALONE_SHARE * peak:
            continue
        inside = height[place - near : place + near + 1] > max(
            _INSIDE_RATIO * loud[place], _LEAST_INSIDE
        )
        places = np.flatnonzero(inside) + place - near
        main = places[height[places] > _LENGTH_SHARE * peak]
        confidence = _confidence(row, int(main[0]), int(main[-1]), sample_rate)
        start, stop = damaged(row, int(places[0]), int(places[-1]) + 1, sample_rate)
        found.append(Finding(start, stop, "click", confidence))
    return found


def _confidence(row: NDArray[np.float32], first: int, last: int, sample_rate: int) -> float:
    """Return how certain a click from ``first`` to ``last`` is, by its length and frequencies."""
    ms = sample_rate / 1000
    if last - first > _SHORT_MS * ms:
        return LONG_CONFIDENCE
    around = round(_AROUND_MS * ms)
    click = row[max(0, first - around) : last + around + 1]
    return NARROW_CONFIDENCE if flatness(click, sample_rate) < _FLATNESS else CONFIDENCE


def is_all(row: NDArray[np.float32], sample_rate: int) -> bool:
    """Return whether a channel holds little but clicks.

    So a Geiger counter or a metronome does; none of its clicks and pauses is damage.
    """
    frame = round(_FRAME_MS * sample_rate / 1000)
    frames = row[: row.size // frame * frame].reshape(-1, frame)
    power = np.mean(np.square(frames), axis=1) + _NOISE**2
    sounding = power > _PAUSE_RMS**2
    spans = list(runs(sounding))
    lengths = np.array([last - first for first, last in spans])
    rises = [power[a:b].max() / power[max(0, a - _SHORT_FRAMES)] for a, b in spans]
    return bool(
        lengths.size >= _FEWEST
        and np.mean(lengths <= _SHORT_FRAMES) >= _SHORT_SHARE
        and np.mean(sounding) <= _SOUNDING
        and np.median(rises) >= _RISE
    )


def are_only(row: NDArray[np.float32], found: list[Finding]) -> bool:
    """Return whether a channel is silent but for clicks.

    They are what was recorded, then, such as the impulses of a measurement.
    """
    return bool(found) and float(np.abs(without(row, found)).max()) <= _SILENT


def without(row: NDArray[np.float32], found: list[Finding]) -> NDArray[np.float32]:
    """Return a channel with straight lines where clicks were found."""
    mended = row.copy()
    for each in found:
        ends = row[each.start - 1], row[each.stop]
        mended[each.start : each.stop] = np.linspace(*ends, each.stop - each.start + 2)[1:-1]
    return mended


def _rms(sums: NDArray[np.float64], first: int, last: int) -> NDArray[np.float64]:
    """Return the level from ``first`` to ``last`` samples behind each sample."""
    places = np.arange(sums.size - 1)
    low, high = (np.clip(places + each, 0, places.size) for each in (first, last))
    power = np.maximum(sums[high] - sums[low], 0.0) / np.maximum(high - low, 1)
    levels: NDArray[np.float64] = np.maximum(np.sqrt(power), _NOISE)
    return levels


def _groups(marked: NDArray[np.bool_], apart: int) -> list[tuple[int, int]]:
    """Return runs of True, joined where less than ``apart`` lies between them."""
    joined: list[tuple[int, int]] = []
    for start, stop in runs(marked):
        if joined and start - joined[-1][1] < apart:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined
