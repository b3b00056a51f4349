"""Sounds that undamaged recordings are made of: tones, strokes, voices, and ways to set them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float64]

_FORMANTS = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480))


@dataclass(frozen=True, slots=True)
class Studio:
    """Maker of sounds of one length at one rate.

    Attributes
    ----------
    rng : Generator, of all that is drawn
    rate : int, in Hz
    samples : int, of a recording
    """

    rng: np.random.Generator
    rate: int
    samples: int

    def of(self, ms: float) -> int:
        """Return a length in samples."""
        return round(ms * self.rate / 1000)

    @property
    def length_ms(self) -> float:
        """Length of a recording."""
        return 1000.0 * self.samples / self.rate

    def time(self, ms: float | None = None) -> Signal:
        """Return seconds from 0 on; of a whole recording without a length."""
        return np.arange(self.samples if ms is None else self.of(ms)) / self.rate

    def tone(self, hertz: float, ms: float | None = None, phase: float = 0.0) -> Signal:
        """Return a sine of amplitude 1."""
        made: Signal = np.sin(2 * np.pi * hertz * self.time(ms) + phase)
        return made

    def square(self, hertz: float, ms: float | None = None, duty: float = 0.5) -> Signal:
        """Return a square or pulse wave of amplitude 1."""
        return np.where((self.time(ms) * hertz) % 1.0 < duty, 1.0, -1.0)

    def noise(self, ms: float | None = None, level: float = 0.3) -> Signal:
        """Return white noise."""
        return level * self.rng.standard_normal(self.samples if ms is None else self.of(ms))

    def coloured(self, ms: float | None = None, slope: float = 1.0, level: float = 0.2) -> Signal:
        """Return noise whose amplitude falls by a power of the frequency."""
        spectrum = np.fft.rfft(self.noise(ms, 1.0))
        spectrum /= np.maximum(1.0, np.arange(spectrum.size)) ** (slope / 2)
        made = np.fft.irfft(spectrum, self.samples if ms is None else self.of(ms))
        return level * made / (np.std(made) + 1e-12)

    def rest(self, ms: float) -> Signal:
        """Return digital silence."""
        return np.zeros(self.of(ms))

    def fade(self, sound: Signal, in_ms: float, out_ms: float) -> Signal:
        """Return a sound with a straight fade at either end."""
        gain = np.ones(sound.size)
        first, last = (min(self.of(each), sound.size // 2) for each in (in_ms, out_ms))
        gain[:first] = np.linspace(0.0, 1.0, first)
        gain[sound.size - last :] = np.linspace(1.0, 0.0, last)
        return sound * gain

    def decay(self, sound: Signal, ms: float, attack_ms: float = 0.0) -> Signal:
        """Return a sound that dies away by a time constant."""
        place = np.arange(sound.size)
        made: Signal = sound * np.exp(-place / max(1, self.of(ms)))
        attack = self.of(attack_ms)
        made[:attack] *= np.linspace(0.0, 1.0, attack)
        return made

    def harmonics(self, hertz: float, ms: float | None = None, tilt: float = 1.0) -> Signal:
        """Return a tone with overtones."""
        count = max(1, min(12, int(0.45 * self.rate / hertz)))
        parts = (
            self.tone(k * hertz, ms, self.rng.uniform(0, 6)) / k**tilt for k in range(1, count + 1)
        )
        made: Signal = 0.3 * np.sum(list(parts), axis=0)
        return made

    def pluck(self, hertz: float, ms: float, ring_ms: float = 250.0) -> Signal:
        """Return a plucked string."""
        hiss = self.decay(self.noise(ms, 0.2), 4.0)
        return self.decay(self.harmonics(hertz, ms), ring_ms, 0.5) + hiss

    def drum(self, ms: float = 200.0) -> Signal:
        """Return a snare: a tone and noise."""
        both = 0.4 * self.tone(190.0, ms) + self.noise(ms, 0.3)
        return self.decay(both, 60.0, 0.3)

    def kick(self, ms: float = 250.0) -> Signal:
        """Return a bass drum: a tone that falls."""
        t = self.time(ms)
        made: Signal = 0.8 * np.sin(2 * np.pi * (50.0 * t + 4.0 * (1 - np.exp(-t / 0.03))))
        return self.decay(made, 90.0, 1.0)

    def hat(self, ms: float = 50.0) -> Signal:
        """Return a closed hi-hat."""
        return self.decay(np.diff(self.noise(ms, 0.3), prepend=0.0), 12.0)

    def vowel(self, ms: float, hertz: float, which: int = 0) -> Signal:
        """Return a sung or spoken vowel, with a fade at either end."""
        frequency = hertz * (1.0 + 0.03 * self.tone(4.0, ms, self.rng.uniform(0, 6)))
        phase = 2 * np.pi * np.cumsum(frequency) / self.rate
        sound = np.zeros(phase.size)
        for k in range(1, int(min(3800.0, 0.45 * self.rate) / hertz)):
            gains = (1 / (1 + ((k * hertz - f) / 90.0) ** 2) for f in _FORMANTS[which % 4])
            sound += (sum(gains) + 0.02) * np.cos(k * phase + k * k)
        return self.fade(0.4 * sound / (np.std(sound) * 3 + 1e-9), 25.0, 60.0)

    def speech(self, pause: Callable[[float], Signal], pause_ms: tuple[float, float]) -> Signal:
        """Return words of some syllables, and pauses between them."""

        def parts(_: int) -> Iterator[Signal]:
            hertz = self.rng.uniform(90.0, 220.0)
            for _ in range(int(self.rng.integers(1, 5))):
                yield self.fade(self.coloured(self.rng.uniform(30, 90), -0.5, 0.05), 10.0, 20.0)
                yield self.vowel(self.rng.uniform(80, 260), hertz, int(self.rng.integers(4)))
            yield pause(self.rng.uniform(*pause_ms))

        return self.again(parts)

    def music(self) -> Signal:
        """Return chords that sound on: no pause anywhere."""
        out = self.coloured(None, 1.0, 0.003)
        for start in np.arange(0.0, self.length_ms, 370.0):
            for _ in range(3):
                note = self.pluck(110.0 * 2 ** (self.rng.integers(36) / 12), 1500.0, 500.0)
                self.put(out, start + self.rng.uniform(0.0, 60.0), 0.4 * note)
        return out

    def put(self, out: Signal, start_ms: float, sound: Signal) -> None:
        """Add a sound to a recording, cut at its end."""
        first = self.of(start_ms)
        part = sound[: max(0, out.size - first)]
        out[first : first + part.size] += part

    def joined(self, parts: Iterable[Signal]) -> Signal:
        """Return sounds one behind the other, of one recording."""
        made: list[Signal] = []
        length = 0
        for part in parts:
            made.append(part)
            length += part.size
            if length >= self.samples:
                break
        whole = np.concatenate(made)
        return np.pad(whole, (0, max(0, self.samples - whole.size)))[: self.samples]

    def again(self, parts: Callable[[int], Iterable[Signal]]) -> Signal:
        """Return the sounds of a function of 0, 1, 2, …, one behind the other."""
        return self.joined(part for number in count() for part in parts(number))

    def every(
        self, period_ms: float, sound: Callable[[int], Signal], jitter_ms: float = 0.0
    ) -> Signal:
        """Return a sound at each beat; each is played through."""
        out = np.zeros(self.samples)
        for number, beat in enumerate(np.arange(40.0, self.length_ms, period_ms)):
            self.put(out, max(0.0, beat + jitter_ms * self.rng.uniform(-1, 1)), sound(number))
        return out

    def scattered(self, mean_ms: float, sound: Callable[[int], Signal]) -> Signal:
        """Return a sound at random times, as rare events come."""
        out = np.zeros(self.samples)
        place, number = self.rng.exponential(mean_ms), 0
        while place < self.length_ms:
            self.put(out, place, sound(number))
            place, number = place + self.rng.exponential(mean_ms), number + 1
        return out

    def gated(self, sound: Signal, period_ms: float, share: float, edge_ms: float) -> Signal:
        """Return a sound that a gate opens and shuts in time."""
        phase = (self.time() * 1000.0) % period_ms
        on_ms = share * period_ms
        edge = max(edge_ms, 1e-6)
        gain = np.clip(np.minimum(phase, on_ms - phase) / edge, 0.0, 1.0)
        made: Signal = sound * gain
        return made

    def scale(self, number: int, lowest: float = 220.0) -> float:
        """Return the frequency of a note of a minor scale."""
        steps = (0, 3, 5, 7, 10, 12, 15, 8)
        return float(lowest * 2 ** (steps[(number * 5 + number // 3) % 8] / 12))
