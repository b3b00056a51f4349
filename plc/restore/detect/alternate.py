"""Single samples that are lost in a regular pattern: every second one, or two of three.

A clogged tape head or a faulty interleaver leaves zeros in the place of every second, third or
fourth sample for some milliseconds, or holds the sample before. Such a stretch is rough: where the
recording around it goes on smoothly, a lost sample lies far from what is beside it. A recording
that is so throughout was held on purpose, and a tone at a fraction of the sample rate has its own
zeros; its other samples change their sign.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from plc.restore.detect.findings import Finding, runs

# Periods, in samples; fewest in a row that lose a sample; longest stretch; sound compared beside.
_PERIODS, _LEAST_LOST, _LONGEST_MS = (2, 3, 4), 16, 250.0
_AROUND_MS = 15.0
# Least RMS of kept samples; least roughness with zeros over that beside.
_LEVEL, _ROUGHER = 10 ** (-45 / 20), 4.0
# Least roughness with held samples over that beside; least median step over the smallest step.
_HELD_ROUGHER, _STEPS = 1.2, 8.0
# Least share kept inside and largest lost beside; least correlation of neighbouring kept samples.
_KEPT, _ALIKE = 0.1, 0.5


def find(row: NDArray[np.float32], sample_rate: int) -> list[Finding]:
    """Return the stretches that lose a sample or more of each period."""
    found: list[Finding] = []
    held = np.concatenate([[False], np.diff(row) == 0])
    for lost, rougher in ((row == 0, _ROUGHER), (held, _HELD_ROUGHER)):
        for period in _PERIODS:
            for start, stop in _stretches(lost, period):
                free = all(stop <= each.start or each.stop <= start for each in found)
                if free and _is_damage(row, lost, (start, stop), sample_rate / 1000, rougher):
                    parts = tuple((start + a, start + b) for a, b in runs(lost[start:stop]))
                    found.append(Finding(start, stop, "alternate", 1.0, parts=parts))
    return found


def _stretches(lost: NDArray[np.bool_], period: int) -> Iterator[tuple[int, int]]:
    """Yield where one sample of each period is lost, the phases together."""
    marked = np.zeros(lost.size + period, np.bool_)
    for phase in range(period):
        for first, last in runs(lost[phase::period]):
            if last - first >= _LEAST_LOST:
                marked[phase + first * period : phase + (last - 1) * period + 1] = True
    for start, stop in runs(marked):
        if np.mean(lost[start:stop]) < 1.0 - _KEPT:
            yield start, stop


def _is_damage(
    row: NDArray[np.float32],
    lost: NDArray[np.bool_],
    span: tuple[int, int],
    ms: float,
    rougher: float,
) -> bool:
    start, stop = span
    around = round(_AROUND_MS * ms)
    if stop - start > _LONGEST_MS * ms or start < around or stop + around > row.size:
        return False
    kept = row[start:stop][~lost[start:stop]]
    power = float(np.mean(np.square(kept)))
    alike = float(np.mean(kept[1:] * kept[:-1]))
    if power < _LEVEL**2 or alike < _ALIKE * power:
        return False
    beside = np.concatenate([lost[start - around : start], lost[stop : stop + around]])
    if float(np.mean(beside)) > _KEPT or not _steps(row, start - around, stop + around):
        return False
    outside = max(_roughness(row[start - around : start]), _roughness(row[stop : stop + around]))
    return _roughness(row[start:stop]) > rougher * outside


def _steps(row: NDArray[np.float32], start: int, stop: int) -> bool:
    """Return whether most samples move by more than the coding's smallest steps."""
    steps = np.abs(np.diff(row[start:stop]))
    moving = steps[steps > 0]
    return bool(moving.size and np.median(moving) >= _STEPS * moving.min())


def _roughness(part: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(part[1:-1] - (part[2:] + part[:-2]) / 2))))
