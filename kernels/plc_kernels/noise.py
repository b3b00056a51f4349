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
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from plc_kernels.compile import kernel
from plc_kernels.phase.fft import RealFft, irfft, rfft
from plc_kernels.phase.windows import window

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
# Gaussian noise, tests/kernels/test_noise.py holds it.
_BIAS = np.float32(2.26)
_BAND_HZ = 200.0
_BAND_LIMIT_HZ = 4000.0
# Bands this far below the loudest one the frame holds do not count as changing.
_BAND_RANGE = np.float32(1e-5)


@dataclass(frozen=True, slots=True)
class NoiseState:
    """What :func:`track_noise` remembers of one channel, and what both kernels work in.

    ``counts[0]`` is the frames seen in the running subwindow, ``counts[1]`` the subwindow to be
    replaced next, ``counts[2]`` the frames seen in all, ``counts[3]`` those near the floor;
    ``flux[0]`` is the last change of the bands in dB, ``flux[1]`` the mean change of the bins of
    frames near the floor.
    """

    fft: RealFft
    window: NDArray[np.float32]
    sine: NDArray[np.float32]
    frame: NDArray[np.float32]
    spectrum: NDArray[np.complex64]
    powers: NDArray[np.float32]
    last: NDArray[np.float32]
    smoothed: NDArray[np.float32]
    running: NDArray[np.float32]
    minima: NDArray[np.float32]
    floor: NDArray[np.float32]
    bands: NDArray[np.float32]
    counts: NDArray[np.int64]
    flux: NDArray[np.float32]
    opened: NDArray[np.float32]
    tail: NDArray[np.float32]
    random: NDArray[np.uint64]

    @classmethod
    def allocate(cls, sample_rate: int, seed: int, beside: Self | None = None) -> Self:
        """Return the state of a channel that has heard nothing yet.

        Channels that are worked on one after the other share the scratch memory of ``beside``.
        """
        n = frame_samples(sample_rate)
        bins = n // 2 + 1
        width = max(1, round(_BAND_HZ * n / sample_rate))
        bands = int(min(_BAND_LIMIT_HZ, sample_rate / 2) * n / sample_rate) // width
        sine = np.sin(np.pi * (np.arange(n) + 0.5) / n)
        state = cls(
            fft=beside.fft if beside else RealFft.allocate(n),
            window=beside.window if beside else window("hann", n).astype(np.float32),
            sine=beside.sine if beside else sine.astype(np.float32),
            frame=beside.frame if beside else np.empty(n, np.float32),
            spectrum=beside.spectrum if beside else np.empty(bins, np.complex64),
            powers=beside.powers if beside else np.empty(bins, np.float32),
            opened=beside.opened if beside else np.empty((2, bins), np.float32),
            last=np.empty(bins, np.float32),
            smoothed=np.empty(bins, np.float32),
            running=np.empty(bins, np.float32),
            minima=np.empty((SUBWINDOWS, bins), np.float32),
            floor=np.empty(bins, np.float32),
            bands=np.empty(bands, np.float32),
            counts=np.zeros(4, np.int64),
            flux=np.zeros(2, np.float32),
            tail=np.empty(n // 2, np.float32),
            random=np.empty(1, np.uint64),
        )
        state.reset(seed)
        return state

    def reset(self, seed: int) -> None:
        """Forget all that was heard."""
        self.last.fill(0.0)
        self.smoothed.fill(0.0)
        self.running.fill(np.inf)
        self.minima.fill(np.inf)
        self.floor.fill(0.0)
        self.bands.fill(0.0)
        self.counts.fill(0)
        self.flux[:] = 0.0, _NOISE_CHANGE_DB
        self.tail.fill(0.0)
        # An odd multiplier spreads neighbouring seeds; xorshift must not start at 0.
        self.random[0] = (seed * 0x9E3779B97F4A7C15 + 0x2545F4914F6CDD1D) % 2**64 | 1

    def listen(self, frame: NDArray[np.float32]) -> None:
        """Learn from one more frame of received audio, as :func:`track_noise`; keep no view."""
        self.frame[:] = frame
        track_noise(
            self.frame,
            self.window,
            self.fft.factors,
            self.fft.twiddles,
            self.fft.scratch,
            self.spectrum,
            self.powers,
            self.last,
            self.smoothed,
            self.running,
            self.minima,
            self.floor,
            self.bands,
            self.counts,
            self.flux,
        )

    def make_half_frame(self, level: float, out: NDArray[np.float32]) -> None:
        """Write the next half frame of noise at a gain of ``level``, as :func:`comfort_noise`."""
        comfort_noise(
            level,
            self.floor,
            self.window,
            self.sine,
            self.fft.factors,
            self.fft.twiddles,
            self.fft.scratch,
            self.frame,
            self.spectrum,
            self.opened,
            self.flux,
            self.tail,
            self.random,
            out,
        )


def frame_samples(sample_rate: int) -> int:
    """Return the samples of a frame: 20 ms, to an even number."""
    return 2 * round(sample_rate * FRAME_MS / 2000.0)


@kernel
def track_noise(
    frame: NDArray[np.float32],
    window: NDArray[np.float32],
    factors: NDArray[np.int64],
    twiddles: NDArray[np.float32],
    scratch: NDArray[np.float32],
    spectrum: NDArray[np.complex64],
    powers: NDArray[np.float32],
    last: NDArray[np.float32],
    smoothed: NDArray[np.float32],
    running: NDArray[np.float32],
    minima: NDArray[np.float32],
    floor: NDArray[np.float32],
    bands: NDArray[np.float32],
    counts: NDArray[np.int64],
    flux: NDArray[np.float32],
) -> None:
    """Learn the background from one more frame of received audio.

    Parameters
    ----------
    frame : float32, shape (n,), read and written
        Samples; the window is applied in place.
    window : float32, shape (n,)
        Hann.
    factors, twiddles, scratch
        The arrays of a :class:`RealFft` for ``n``.
    spectrum, powers, last, smoothed, running, minima, bands, counts
        Of a :class:`NoiseState`; written.
    floor : float32, shape (bins,), written
        Background power of each bin of the windowed frame.
    flux : float32, shape (2,), written
        Mean change of the band levels since the frame before, in dB, below 0 if either of the
        two is silent; and the mean change of the bins in frames near the floor.
    """
    for i in range(frame.size):
        frame[i] *= window[i]
    rfft(frame, factors, twiddles, scratch, spectrum)
    first = counts[2] == 0
    keep = np.float32(0.0) if first else _SMOOTHING
    bins = spectrum.size
    for k in range(bins):
        value = spectrum[k]
        powers[k] = value.real * value.real + value.imag * value.imag
    _measure_change(powers, last, floor, counts, flux)
    for k in range(bins):
        begin = max(0, k - _NEIGHBOURS)
        end = min(bins, k + _NEIGHBOURS + 1)
        power = np.float32(0.0)
        for j in range(begin, end):
            power += powers[j]
        power /= end - begin
        smoothed[k] = keep * smoothed[k] + (np.float32(1.0) - keep) * power
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
    _measure_flux(powers, bands, flux)


@kernel
def _measure_change(
    powers: NDArray[np.float32],
    last: NDArray[np.float32],
    floor: NDArray[np.float32],
    counts: NDArray[np.int64],
    flux: NDArray[np.float32],
) -> None:
    """Average how much the bins change between two frames that are both near the floor."""
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


@kernel
def _uniform(random: NDArray[np.uint64]) -> float:
    """Return the next number in (0, 1]: xorshift64*, G. Marsaglia 2003 and S. Vigna 2016."""
    x = random[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    random[0] = x
    return (np.float64((x * np.uint64(0x2545F4914F6CDD1D)) >> np.uint64(11)) + 1.0) * 2.0**-53


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
def comfort_noise(
    level: float,
    floor: NDArray[np.float32],
    window: NDArray[np.float32],
    sine: NDArray[np.float32],
    factors: NDArray[np.int64],
    twiddles: NDArray[np.float32],
    scratch: NDArray[np.float32],
    frame: NDArray[np.float32],
    spectrum: NDArray[np.complex64],
    opened: NDArray[np.float32],
    flux: NDArray[np.float32],
    tail: NDArray[np.float32],
    random: NDArray[np.uint64],
    out: NDArray[np.float32],
) -> None:
    """Make the next half frame of noise with the spectrum and level of the background.

    Parameters
    ----------
    level : float
        Gain of this half frame.
    floor : float32, shape (n // 2 + 1,)
        Background power, from :func:`track_noise`.
    window, sine : float32, shape (n,)
        The window that ``floor`` was measured under, and the one the noise is made under.
    factors, twiddles, scratch
        The arrays of a :class:`RealFft` for ``n``.
    flux : float32, shape (2,)
        From :func:`track_noise`: whether the floor is made of noise.
    frame, spectrum, opened, tail, random
        Of a :class:`NoiseState`; written.
    out : float32, shape (n // 2,), written
        Samples that follow those of the call before.
    """
    n = frame.size
    half = n // 2
    energy = 0.0
    for i in range(n):
        energy += window[i] * window[i]
    # 1 where the floor is noise, 0 where it is music.
    noisy = (flux[1] - _MUSIC_CHANGE_DB) / (_NOISE_CHANGE_DB - _MUSIC_CHANGE_DB)
    noisy = min(max(noisy, np.float32(0.0)), np.float32(1.0))
    gain_db = (np.float32(1.0) - noisy) * _MUSIC_GAIN_DB
    scale = level * level * n / energy * 10.0 ** (gain_db / 10.0)
    _open(floor, opened)
    for k in range(spectrum.size):
        level = min(floor[k], _OPENING_GAIN * opened[1, k])
        magnitude = math.sqrt(-math.log(_uniform(random)) * level * scale)
        phase = 2.0 * math.pi * _uniform(random)
        spectrum[k] = complex(magnitude * math.cos(phase), magnitude * math.sin(phase))
    irfft(spectrum, factors, twiddles, scratch, frame)
    for i in range(half):
        out[i] = tail[i] + frame[i] * sine[i]
        tail[i] = frame[half + i] * sine[half + i]
