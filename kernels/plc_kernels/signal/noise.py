"""The background: its spectrum tracked by minimum statistics, and noise that sounds like it.

Speech and music come and go; what stays between is the background. The power of each bin,
smoothed, falls to the background's level every second or so, hence its minimum over the last
``SUBWINDOWS`` stretches of ``SUBWINDOW_FRAMES`` frames estimates it [1]_, after a correction: the
minimum of a fluctuating estimate lies below its mean. The paper adapts the smoothing over time to
the signal. Here a little of it is fixed, so that a pause of 0.2 s is enough to see the background,
and the rest is done over neighbouring bins; frames do not overlap.

Comfort noise is the reverse: frames of complex Gaussian bins at that level, half overlapping
under a sine window, whose squares add up to one. A tone held longer than the memory looks like
background to the minimum, so peaks narrower than ``OPENING_BINS`` are taken off first.

Sustained music has no pauses, and its minimum is music, too. What gives it away is that its bins
hold still: from frame to frame the power of a bin of Gaussian noise changes by 4.6 dB in the mean
(weighted by power), that of a tone by nothing, of music by 2 to 4. Noise is made at the level of
the floor where the floor's frames change like noise, and up to 30 dB under it where they do not.

The same frames tell how unsteady the content is: the mean change of its band levels from one
frame to the next, in dB, is 3 to 4 for music and 5 to 6 for speech.

References
----------
.. [1] R. Martin, "Noise power spectral density estimation based on optimal smoothing and minimum
   statistics", IEEE Trans. Speech and Audio Processing 9 (5), 2001.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import kernel, part
from plc_kernels.spectra.fft import irfft, rfft

FRAME_MS = 20.0
"""Length of an analysis frame; also the distance between two of them."""

SUBWINDOWS = 6
SUBWINDOW_FRAMES = 12
"""Frames per subwindow; 6 * 12 frames of 20 ms remember 1.4 s, the paper's figure."""

OPENING_BINS = 13
"""Width of the widest peak of the floor that is not background: 650 Hz; a tone fills 8 bins."""

# An opening (the largest of the least) of a floor that fluctuates by 1 dB lies this far under it.
_OPENING_GAIN = np.float32(1.5)
# Change of a bin's power between frames in dB: as music does, as noise does, and how much lower
# the former is played. 22 clips of music and instruments measured 0.8 to 3.8 and two 4.3 to 4.8,
# 16 of speech (in their pauses) 4.5 to 7.7, white and pink noise 4.6 and 5.0.
_MUSIC_CHANGE_DB = np.float32(3.3)
_NOISE_CHANGE_DB = np.float32(4.3)
_MUSIC_GAIN_DB = np.float32(-30.0)
# Frames up to this far above the floor show what the floor is made of; the average is over 1 s.
_NEAR_FLOOR = np.float32(4.0)
_CHANGE_FRAMES = 50
# Share of the past in the smoothed power: it falls by 3 dB a frame when a sound stops.
_SMOOTHING = np.float32(0.5)
# Neighbours on each side over which the power is averaged: 250 Hz in all.
_NEIGHBOURS = 2
# Mean over minimum of the smoothed power of white noise over 6 * 12 frames: measured on 10 min of
# Gaussian noise, tests/kernels/signal/test_noise.py holds it.
_BIAS = np.float32(2.26)
BAND_HZ = 200.0
BAND_LIMIT_HZ = 4000.0
# What recent levels keep of the past with each frame: the last 100 ms count most. They are means of
# fourth roots, which are near those of logarithms: a beat does not count as the level of what is
# between. Power over that mean of white noise: Gamma(5/4) ** -4.
_RECENT_KEEP = np.float32(0.8)
_RECENT_BIAS = np.float32(1.4815)
# Rows of :attr:`NoiseState.levels`; the last is workspace.
POWERS, FLOOR, _LAST, _SMOOTHED, _ROOTS, _RUNNING, _MINIMA = range(7)
_OPENED = _MINIMA + SUBWINDOWS
ROWS = _OPENED + 2
# Bands this far below the loudest one the frame holds do not count as changing.
_BAND_RANGE = np.float32(1e-5)


class NoiseState(NamedTuple):
    """Memory and workspace of one channel, passed to the kernels.

    ``counts`` holds the frames in the running subwindow, the subwindow to replace next, all
    frames, and the frames near the floor. ``flux`` holds the last change of the bands in dB,
    below 0 if one of two frames is silent, and the mean change of the bins of frames near the
    floor. ``tail`` is the second half of the last noise frame.
    """

    factors: NDArray[np.int64]
    twiddles: NDArray[np.float32]
    scratch: NDArray[np.float32]
    windows: NDArray[np.float32]
    """Shape (2, n): Hann for the floor, sine for the noise."""
    frame: NDArray[np.float32]
    spectrum: NDArray[np.complex64]
    levels: NDArray[np.float32]
    """Shape (rows, bins): powers, named by the constants of the module."""
    bands: NDArray[np.float32]
    counts: NDArray[np.int64]
    flux: NDArray[np.float32]
    tail: NDArray[np.float32]
    random: NDArray[np.uint64]


@kernel
def start_noise(state: NoiseState, seed: np.uint64) -> None:
    """Forget all frames of a channel, whose noise begins with a seed; windows and tables stay."""
    state.levels[:] = np.float32(0.0)
    state.levels[_RUNNING : _MINIMA + SUBWINDOWS] = np.float32(np.inf)
    state.bands[:] = np.float32(0.0)
    state.counts[:] = 0
    state.flux[0] = 0.0
    state.flux[1] = _NOISE_CHANGE_DB
    state.tail[:] = np.float32(0.0)
    state.random[0] = first_random(seed)


@kernel
def first_random(seed: np.uint64) -> np.uint64:
    """Return the state that a seed's random numbers begin with."""
    # An odd multiplier spreads neighbouring seeds; xorshift must not start at 0.
    mixed = seed * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x2545F4914F6CDD1D)
    first: np.uint64 = mixed | np.uint64(1)
    return first


@kernel
def noise_windows(windows: NDArray[np.float32]) -> None:
    """Write Hann and sine, the windows of floor and noise: ``windows``, float32, shape (2, n)."""
    n = windows.shape[1]
    for i in range(n):
        windows[0, i] = 0.5 + 0.5 * math.cos(2.0 * math.pi * (i - n / 2) / n)
        windows[1, i] = math.sin(math.pi * (i + 0.5) / n)


def frame_samples(sample_rate: int) -> int:
    """Return the samples of a frame: 20 ms, to an even number."""
    return 2 * round(sample_rate * FRAME_MS / 2000.0)


@kernel
def track_noise(state: NoiseState) -> None:
    """Learn the background from one more frame of received audio.

    ``state.frame`` holds the samples, which are overwritten. The row ``FLOOR`` of its ``levels``
    becomes the background power of each bin of the windowed frame; ``flux`` is updated.
    """
    frame, window, spectrum, counts = state.frame, state.windows[0], state.spectrum, state.counts
    powers, floor = state.levels[POWERS], state.levels[FLOOR]
    smoothed, running = state.levels[_SMOOTHED], state.levels[_RUNNING]
    minima = state.levels[_MINIMA : _MINIMA + SUBWINDOWS]
    for i in range(frame.size):
        frame[i] *= window[i]
    rfft(frame, state.factors, state.twiddles, state.scratch, spectrum)
    first = counts[2] == 0
    keep = np.float32(0.0) if first else _SMOOTHING
    bins = spectrum.size
    for k in range(bins):
        value = spectrum[k]
        powers[k] = value.real * value.real + value.imag * value.imag
    _follow_roots(powers, np.float32(0.0) if first else _RECENT_KEEP, state.levels[_ROOTS])
    _measure_change(powers, state.levels[_LAST], floor, counts, state.flux)
    for k in range(_NEIGHBOURS):
        _smooth(powers, k, keep, smoothed)
        _smooth(powers, bins - 1 - k, keep, smoothed)
    for k in range(_NEIGHBOURS, bins - _NEIGHBOURS):
        power = np.float32(0.0)
        for j in range(-_NEIGHBOURS, _NEIGHBOURS + 1):
            power += powers[k + j]
        power /= 2 * _NEIGHBOURS + 1
        smoothed[k] = keep * smoothed[k] + (np.float32(1.0) - keep) * power
    for k in range(bins):
        running[k] = min(running[k], smoothed[k])
    counts[0] += 1
    counts[2] += 1
    if counts[0] == SUBWINDOW_FRAMES:
        for k in range(running.size):
            minima[counts[1], k] = running[k]
            running[k] = np.inf
        counts[0] = 0
        counts[1] = (counts[1] + 1) % SUBWINDOWS
    for k in range(floor.size):
        least = running[k]
        for j in range(SUBWINDOWS):
            least = min(least, minima[j, k])
        if least < np.inf:
            floor[k] = _BIAS * least
    _measure_flux(powers, state.bands, state.flux)


@part
def _follow_roots(
    powers: NDArray[np.float32], keep: np.float32, roots: NDArray[np.float32]
) -> None:
    for k in range(powers.size):
        root = np.sqrt(np.sqrt(powers[k]))
        roots[k] = root + keep * (roots[k] - root)


@kernel
def recent_levels(state: NoiseState, out: NDArray[np.float32]) -> None:
    """Write the powers of noise in the last received frames, as mean squares of its samples.

    Peaks narrower than ``OPENING_BINS`` are taken off: tones. ``out``, float32, shape
    (n // 2 + 1,), is the power of each bin of the windowed frame, over the window's energy. The
    workspace of :func:`track_noise` is written.
    """
    roots, opened, smoothed = state.levels[_ROOTS], state.levels[_OPENED:], state.frame[: out.size]
    # The window's energy is 3/8 of its samples.
    scale = _RECENT_BIAS * np.float32(8.0 / (3.0 * state.frame.size))
    for k in range(out.size):
        root = roots[k] * roots[k]
        out[k] = scale * root * root
    for k in range(out.size):
        smoothed[k] = mean_around(out, k, _NEIGHBOURS)
    _open(smoothed, opened)
    for k in range(out.size):
        out[k] = min(smoothed[k], _OPENING_GAIN * opened[1, k])


@kernel
def _smooth(
    powers: NDArray[np.float32], k: int, keep: np.float32, smoothed: NDArray[np.float32]
) -> None:
    """Smooth the power of a bin near an end of the spectrum."""
    begin, end = max(0, k - _NEIGHBOURS), min(powers.size, k + _NEIGHBOURS + 1)
    power = np.float32(0.0)
    for j in range(begin, end):
        power += powers[j]
    power /= end - begin
    smoothed[k] = keep * smoothed[k] + (np.float32(1.0) - keep) * power


@part
def mean_around(powers: NDArray[np.float32], k: int, neighbours: int) -> np.float32:
    """Return the mean power of a bin and its neighbours; the spectrum's ends count on beyond it."""
    power = np.float32(0.0)
    for j in range(k - neighbours, k + neighbours + 1):
        power += powers[min(max(j, 0), powers.size - 1)]
    return power / np.float32(2 * neighbours + 1)


@kernel
def _measure_change(
    powers: NDArray[np.float32],
    last: NDArray[np.float32],
    floor: NDArray[np.float32],
    counts: NDArray[np.int64],
    flux: NDArray[np.float32],
) -> None:
    now = np.float32(0.0)
    before = np.float32(0.0)
    least = np.float32(0.0)
    for k in range(powers.size):
        now += powers[k]
        before += last[k]
        least += floor[k]
    if min(now, before) > 0.0 and max(now, before) < _NEAR_FLOOR * least:
        change = np.float32(0.0)
        weights = np.float32(0.0)
        for k in range(powers.size):
            weight = math.sqrt(powers[k] * last[k])
            if weight > 0.0:
                change += weight * abs(math.log10(powers[k] / last[k]))
                weights += weight
        if weights > 0.0:
            counts[3] = min(counts[3] + 1, _CHANGE_FRAMES)
            flux[1] += (10.0 * change / weights - flux[1]) / counts[3]
    for k in range(powers.size):
        last[k] = powers[k]


@kernel
def _measure_flux(
    powers: NDArray[np.float32], bands: NDArray[np.float32], flux: NDArray[np.float32]
) -> None:
    width = (powers.size - 1) // max(bands.size, 1)
    total = np.float32(0.0)
    before = np.float32(0.0)
    for j in range(bands.size):
        before += bands[j]
        for k in range(1 + j * width, 1 + (j + 1) * width):
            total += powers[k]
    least = _BAND_RANGE * max(total, before)
    change = np.float32(0.0)
    for j in range(bands.size):
        power = np.float32(0.0)
        for k in range(1 + j * width, 1 + (j + 1) * width):
            power += powers[k]
        if least > 0.0:
            change += abs(math.log10((power + least) / (bands[j] + least)))
        bands[j] = power
    audible = min(total, before) > np.float32(1e-4) * max(total, before)
    flux[0] = 10.0 * change / bands.size if audible and bands.size > 0 else -1.0


@part
def next_random(random: NDArray[np.uint64]) -> np.uint64:
    """Return the next 64 bits: xorshift64*, G. Marsaglia 2003 and S. Vigna 2016."""
    x = random[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    random[0] = x
    drawn: np.uint64 = x * np.uint64(0x2545F4914F6CDD1D)
    return drawn


@kernel
def _uniform(random: NDArray[np.uint64]) -> float:
    return (np.float64(next_random(random) >> np.uint64(11)) + 1.0) * 2.0**-53


@kernel
def _open(floor: NDArray[np.float32], opened: NDArray[np.float32]) -> None:
    """Write the opening of ``floor`` to ``opened[1]``: peaks narrower than the window are gone."""
    half = OPENING_BINS // 2
    bins = floor.size
    for k in range(bins):
        least = floor[k]
        for j in range(max(0, k - half), min(bins, k + half + 1)):
            least = min(least, floor[j])
        opened[0, k] = least
    for k in range(bins):
        most = opened[0, k]
        for j in range(max(0, k - half), min(bins, k + half + 1)):
            most = max(most, opened[0, j])
        opened[1, k] = most


@kernel
def comfort_noise(level: float, state: NoiseState, out: NDArray[np.float32]) -> None:
    """Make the next half frame of noise like the background.

    ``level`` is its gain. ``out``, float32, shape (n // 2,), are samples that follow those of the
    call before. ``tail``, ``random`` and the workspace of :func:`track_noise` are written.
    """
    frame, spectrum, tail, random = state.frame, state.spectrum, state.tail, state.random
    window, sine = state.windows[0], state.windows[1]
    floor, opened = state.levels[FLOOR], state.levels[_OPENED:]
    n = frame.size
    half = n // 2
    energy = 0.0
    for i in range(n):
        energy += window[i] * window[i]
    # 1 where the floor is noise, 0 where it is music.
    noisy = (state.flux[1] - _MUSIC_CHANGE_DB) / (_NOISE_CHANGE_DB - _MUSIC_CHANGE_DB)
    noisy = min(max(noisy, np.float32(0.0)), np.float32(1.0))
    gain_db = (np.float32(1.0) - noisy) * _MUSIC_GAIN_DB
    scale = level * level * n / energy * 10.0 ** (gain_db / 10.0)
    _open(floor, opened)
    for k in range(spectrum.size):
        level = min(floor[k], _OPENING_GAIN * opened[1, k])
        magnitude = math.sqrt(-math.log(_uniform(random)) * level * scale)
        phase = 2.0 * math.pi * _uniform(random)
        spectrum[k] = complex(magnitude * math.cos(phase), magnitude * math.sin(phase))
    irfft(spectrum, state.factors, state.twiddles, state.scratch, frame)
    for i in range(half):
        out[i] = tail[i] + frame[i] * sine[i]
        tail[i] = frame[half + i] * sine[half + i]
