# ruff: noqa: E501  (a table: one kind a line)
"""Undamaged recordings of many kinds, made from a seed, that a repair must not change.

Each holds something that looks like damage at a glance: digital silence, hard edges, blocks said
again, impulses, flat tops, a channel that is silent while another sounds.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from plc_bench.restore.sounds import Signal, Studio

Maker = Callable[[Studio], Signal]

_MORSE = {
    "p": ".--.", "a": ".-", "r": ".-.", "i": "..", "s": "...", "c": "-.-.", "q": "--.-",
    "d": "-..", "e": ".", "k": "-.-", "t": "-", "h": "....", "5": ".....", "0": "-----",
}  # fmt: skip
_TEXT = "paris de cq 50 the test is a kit sea rat "


def _morse(s: Studio, words: float, edge_ms: float = 0.0) -> Signal:
    unit = 1200.0 / words
    tone = 0.4 * s.tone(700.0)
    key: list[Signal] = []
    for letter in _TEXT * 4:
        if letter == " ":
            key.append(s.rest(4 * unit))
            continue
        for sign in _MORSE[letter]:
            key.append(s.fade(np.ones(s.of(unit * (1 if sign == "." else 3))), edge_ms, edge_ms))
            key.append(s.rest(unit))
        key.append(s.rest(2 * unit))
    return tone * s.joined(key)


def _dtmf(s: Studio, on_ms: float, off_ms: float) -> Signal:
    low, high = (697, 770, 852, 941), (1209, 1336, 1477, 1633)

    def digits(_: int) -> Iterator[Signal]:
        pair = s.rng.choice(low), s.rng.choice(high)
        yield 0.22 * (s.tone(pair[0], on_ms) + s.tone(pair[1], on_ms))
        yield s.rest(off_ms)

    return s.again(digits)


def _notes(
    s: Studio, note_ms: float, rest_ms: float, release_ms: float, attack_ms: float = 3.0
) -> Signal:

    def line(number: int) -> Iterator[Signal]:
        yield s.fade(s.harmonics(s.scale(number), note_ms), attack_ms, release_ms)
        yield s.rest(rest_ms)

    return s.again(line)


def _played(s: Studio, release_ms: float, spread: float = 0.3) -> Signal:
    """Return a melody as somebody plays it: no two notes and rests of one length."""

    def line(number: int) -> Iterator[Signal]:
        beats = s.rng.choice([1, 1, 2, 3])
        note_ms = 150.0 * beats * (1 + spread * s.rng.uniform(-1, 1))
        yield s.fade(s.harmonics(s.scale(number), note_ms), 4.0, release_ms)
        yield s.rest(s.rng.choice([60, 120, 240]) * (1 + spread * s.rng.uniform(-1, 1)))

    return s.again(line)


def _chip(s: Studio, duty: float, step_ms: float = 110.0) -> Signal:
    def line(number: int) -> Iterator[Signal]:
        on_ms = step_ms * s.rng.choice([0.5, 0.75, 1.0])
        yield 0.25 * s.square(s.scale(number), on_ms, duty)
        yield s.rest(step_ms - on_ms)

    return s.again(line)


def _phrases(s: Studio, rest_ms: float, fade_ms: float, lengths: tuple[float, ...]) -> Signal:
    music = s.music()
    gain: list[Signal] = []
    for number in range(100):
        gain.append(s.fade(np.ones(s.of(lengths[number % len(lengths)])), fade_ms, fade_ms))
        gain.append(s.rest(rest_ms))
    return music * s.joined(gain)


def _drum_loop(s: Studio) -> Signal:
    samples = (s.kick(180.0), s.hat(60.0), s.drum(140.0), s.hat(60.0))
    cut = [each[: s.of(110.0)] for each in samples]
    pattern = (0, 1, 2, 1, 0, 0, 2, 3)
    return s.every(125.0, lambda n: cut[pattern[n % 8]])


def _two_squares(s: Studio, hertz: float, cents: float) -> Signal:
    """Return notes of two voices that cancel each other in turn."""
    notes = (hertz * 2 ** (s.rng.integers(12) / 12) for _ in range(999))
    apart = 2 ** (cents / 1200)
    return 0.2 * s.joined(s.square(note, 400.0) + s.square(note * apart, 400.0) for note in notes)


def _lead(s: Studio, duty: float, cents: float, cutoff_hz: float, rest_ms: float = 0.0) -> Signal:
    """Return notes of a synthesizer: two pulse waves, or saws, through a filter of one pole."""

    def line(_: int) -> Iterator[Signal]:
        ms, hertz = s.rng.choice([250.0, 500.0]), 110.0 * 2 ** (s.rng.integers(36) / 12)
        both = [
            s.square(each, ms, duty) if duty else 2.0 * ((s.time(ms) * each) % 1.0) - 1.0
            for each in (hertz, hertz * 2 ** (cents / 1200))
        ]
        yield s.fade(0.2 * (both[0] + both[1]), 4.0, s.rng.choice([3.0, 30.0]))
        yield s.rest(s.rng.choice([0.0, rest_ms]))

    place = np.arange(s.of(4.0))
    taps = np.exp(-2 * np.pi * cutoff_hz / s.rate * place)
    made: Signal = np.convolve(s.again(line), taps / taps.sum())[: s.samples]
    return made


def _stutter(s: Studio, block_ms: float, times: int, every_ms: float = 2000.0) -> Signal:
    out = s.music()
    block = s.of(block_ms)
    for start in range(s.of(500.0), s.samples - (times + 1) * block, s.of(every_ms)):
        out[start + block : start + (times + 1) * block] = np.tile(
            out[start : start + block], times
        )
    return out


def _glitch(s: Studio, block_ms: float) -> Signal:
    block = s.fade(s.music()[s.of(300.0) : s.of(300.0 + block_ms)], 0.5, 0.5)
    return np.resize(block, s.samples)


def _in_turn(s: Studio, left: Signal, right: Signal, period_ms: float) -> Signal:
    on = (s.time() * 1000.0) % (2 * period_ms) < period_ms
    return np.stack([left * on, right * ~on], axis=1)


def _talk(s: Studio) -> Signal:
    """Return two speakers, each on a channel of their own, in turn."""
    gain: list[Signal] = []
    while sum(part.size for part in gain) < s.samples:
        gain += [np.ones(s.of(s.rng.uniform(400, 1500))), s.rest(s.rng.uniform(300, 1400))]
    on = s.joined(gain) > 0
    both = [s.speech(s.rest, (40.0, 400.0)) for _ in range(2)]
    return np.stack([both[0] * on, both[1] * ~on], axis=1)


def _vad(s: Studio, floor_db: float | None) -> Signal:
    """Return speech over room noise; pauses are silence or comfort noise."""
    clean = s.speech(s.rest, (60.0, 700.0))
    level = np.convolve(np.abs(clean), np.ones(s.of(20.0)) / s.of(20.0), "same")
    talking = level > 0.01
    noisy = clean + s.coloured(None, 1.0, 0.002)
    comfort = 0.0 if floor_db is None else s.noise(None, 10 ** (floor_db / 20))
    made: Signal = np.where(talking, noisy, comfort)
    return made


def _steps(s: Studio, step_ms: float, levels: int = 9) -> Signal:
    drawn = s.rng.integers(-levels, levels + 1, int(s.length_ms / step_ms) + 1) * 0.8 / levels
    made: Signal = np.repeat(drawn, s.of(step_ms))[: s.samples]
    return np.pad(made, (0, s.samples - made.size))


def _held(s: Studio, sound: Signal, times: int) -> Signal:
    """Return a sound of a lower rate, each sample said several times."""
    return np.repeat(sound[::times], times)[: sound.size]


def _crushed(sound: Signal, bits: int) -> Signal:
    scale = 2.0 ** (bits - 1)
    made: Signal = np.round(sound * scale) / scale
    return made


def _sweep(s: Studio, ms: float | None = None) -> Signal:
    t = s.time(ms)
    octaves = np.log(0.4 * s.rate / 30.0)
    made: Signal = 0.5 * np.sin(2 * np.pi * 30.0 * t[-1] / octaves * np.expm1(octaves * t / t[-1]))
    return made


def _response(s: Studio) -> Signal:
    made = s.decay(s.noise(900.0, 0.1), 120.0)
    made[: s.of(20.0)] = 0.0
    made[0], made[s.of(7.0)], made[s.of(13.0)] = 0.9, 0.4, -0.3
    return made


def _cadence(s: Studio, sound: Signal, pattern_ms: tuple[float, ...]) -> Signal:

    def key(_: int) -> Iterator[Signal]:
        for number, ms in enumerate(pattern_ms):
            yield np.full(s.of(ms), float(number % 2 == 0))

    return sound * s.again(key)


def _bursts(s: Studio, on_ms: tuple[float, float], off_ms: tuple[float, float]) -> Signal:
    def line(_: int) -> Iterator[Signal]:
        yield 0.4 * s.tone(s.rng.choice([500.0, 1000.0, 2000.0]), s.rng.uniform(*on_ms))
        yield s.rest(s.rng.uniform(*off_ms))

    return s.again(line)


def _pulses(s: Studio, hertz: float) -> Signal:
    out = np.zeros(s.samples)
    out[:: round(s.rate / hertz)] = 0.7
    return out


def _clip(sound: Signal, gain: float) -> Signal:
    made: Signal = np.clip(gain * sound, -0.9, 0.9)
    return made


def _bouncing(s: Studio) -> Signal:
    out = np.zeros(s.samples)
    place, gap = 100.0, 420.0
    while place < s.length_ms:
        s.put(out, place, s.decay(s.tone(900.0, 30.0) + s.noise(30.0), 5.0))
        place, gap = place + gap, gap * 0.93 if gap > 30.0 else 420.0
    return out


def _radio(s: Studio) -> Signal:
    """Return push-to-talk: speech with noise, a squelch tail, and nothing."""

    def parts(_: int) -> Iterator[Signal]:
        ms = s.rng.uniform(500.0, 1600.0)
        said = s.speech(s.rest, (20.0, 120.0))[: s.of(ms)]
        yield said + s.noise(ms, 0.01)[: said.size]
        yield s.noise(s.rng.uniform(60.0, 150.0), 0.2)
        yield s.rest(s.rng.uniform(250.0, 900.0))

    return s.again(parts)


def _prompts(s: Studio) -> Signal:

    def parts(_: int) -> Iterator[Signal]:
        word = s.vowel(s.rng.uniform(150, 350), 180.0, int(s.rng.integers(4)))
        yield s.coloured(60.0, -0.5, 0.04)
        yield word[: word.size - s.of(30.0)]
        yield s.rest(s.rng.choice([50.0, 100.0, 250.0]))

    return s.again(parts)


def _muted(s: Studio, fade_ms: float) -> Signal:
    gain = np.ones(s.samples)
    for start_ms in (900.0, 2600.0, 4100.0):
        length_ms = s.rng.uniform(150.0, 450.0)
        shut = 1.0 - s.fade(np.ones(s.of(length_ms + 2 * fade_ms)), fade_ms, fade_ms)
        part = gain[s.of(start_ms) :][: shut.size]
        part *= shut[: part.size]
    return s.music() * gain


def _keyed(s: Studio, on_ms: tuple[float, float], off_ms: tuple[float, float]) -> Signal:
    """Return a gate that opens and shuts at drawn times."""

    def key(_: int) -> Iterator[Signal]:
        yield np.ones(s.of(s.rng.uniform(*on_ms)))
        yield s.rest(s.rng.uniform(*off_ms))

    return s.again(key)


def _theremin(s: Studio) -> Signal:
    """Return a tone that glides and wavers, and never stops."""
    t = s.time()
    line = np.interp(t, np.arange(60) * 0.9, s.rng.uniform(0.0, 1.2, 60))
    hertz = 300.0 * 2.0 ** (np.convolve(line, np.hanning(s.of(300.0)), "same") * 2 / s.of(300.0))
    phase = 2 * np.pi * np.cumsum(hertz * (1.0 + 0.01 * s.tone(5.5))) / s.rate
    made: Signal = 0.3 * (np.sin(phase) + 0.3 * np.sin(2 * phase) + 0.1 * np.sin(3 * phase))
    return made


def _stopped(s: Studio, sound: Signal, stop_ms: float, on_ms: tuple[float, float]) -> Signal:

    def key(_: int) -> Iterator[Signal]:
        yield np.ones(s.of(s.rng.uniform(*on_ms)))
        yield s.rest(stop_ms)

    return sound * s.again(key)


def _sequenced(s: Studio, sound: Signal, step_ms: float, share: float) -> Signal:
    steps = s.rng.random(int(s.length_ms / step_ms) + 2) < share
    return sound * (1.0 - np.repeat(steps, s.of(step_ms))[: s.samples])


def _glitches(s: Studio, mean_ms: float) -> Signal:
    """Return music of which pieces are silent, said again, turned round or crushed."""
    out, place = s.music(), s.of(300.0)
    while place + s.of(700.0) < s.samples:
        block, times = s.of(s.rng.choice([15.0, 30.0, 60.0, 120.0])), int(s.rng.integers(1, 5))
        part = out[place : place + times * block]
        made = (
            0.0 * part,
            np.resize(out[place - block : place], part.size),
            part[::-1].copy(),
            _crushed(part, 3),
        )
        part[:] = made[s.rng.integers(4)]
        place += part.size + s.of(s.rng.exponential(mean_ms))
    return out


def _choked(s: Studio, step_ms: float, spread: float, gate: float = 1.0) -> Signal:
    """Return the voice of a sampler: each sample cuts off the one before."""
    samples = (
        lambda ms: s.drum(max(ms, 1.0)),
        lambda ms: s.kick(max(ms, 1.0)),
        lambda ms: s.vowel(max(ms, 100.0), 160.0, 1),
        lambda ms: s.pluck(s.scale(int(s.rng.integers(8))), max(ms, 30.0), 300.0),
    )

    def line(_: int) -> Iterator[Signal]:
        ms = step_ms * s.rng.choice([0.5, 1.0, 1.0, 2.0]) * (1 + spread * s.rng.uniform(-1, 1))
        on = s.of(ms * s.rng.choice([1.0, gate]))
        sound = samples[s.rng.integers(4)](ms)[:on]
        yield np.pad(sound, (0, s.of(ms) - min(sound.size, s.of(ms))))

    return s.again(line)


def _one_bit(s: Studio, sound: Signal, least: float) -> Signal:
    return 0.5 * np.sign(np.round(sound / (2 * least)))


def _beeps(s: Studio, hertz: float, pattern_ms: tuple[float, ...], level: float = 0.3) -> Signal:
    return _cadence(s, level * s.tone(hertz), pattern_ms)


def _words(s: Studio) -> Signal:
    return s.speech(s.rest, (60.0, 300.0))


def _chip_speech(s: Studio) -> Signal:
    """Return speech of a chip: frames of buzz or hiss, each of one level, and stops cut hard."""

    def frames(_: int) -> Iterator[Signal]:
        hertz = s.rng.uniform(90.0, 160.0)
        for _ in range(int(s.rng.integers(2, 6))):
            yield s.noise(25.0 * int(s.rng.integers(1, 4)), 0.05)
            voiced = s.vowel(25.0 * int(s.rng.integers(5, 13)), hertz, int(s.rng.integers(4)))
            yield _crushed(voiced[s.of(25.0) : -s.of(50.0)], 5)
            yield s.rest(25.0 * int(s.rng.integers(0, 3)))
        yield s.rest(25.0 * int(s.rng.integers(2, 12)))

    return s.again(frames)


def _bleeped(s: Studio) -> Signal:
    """Return speech of which words are replaced by a tone, cut hard."""
    out, place = _words(s), 400.0
    while place < s.length_ms:
        ms = s.rng.uniform(80.0, 350.0)
        out[s.of(place) :][: s.of(ms)] = 0.0
        s.put(out, place, 0.25 * s.tone(1000.0, ms))
        place += ms + s.rng.uniform(400.0, 1500.0)
    return out


def _noise_gate(s: Studio, sound: Signal, least: float, hold_ms: float, fade_ms: float) -> Signal:
    """Return a sound that a gate shuts off where it is quiet."""
    level = np.convolve(np.abs(sound), np.ones(s.of(5.0)) / s.of(5.0), "same")
    is_open = np.convolve(level > least, np.ones(s.of(hold_ms)))[: sound.size] > 0
    gain = np.convolve(is_open, np.ones(s.of(fade_ms)) / s.of(fade_ms))[: sound.size]
    made: Signal = sound * gain
    return made


def _drawn_stutter(s: Studio, block_ms: float, times: int) -> Signal:
    out, block, place = s.music(), s.of(block_ms), s.of(400.0)
    while place + (times + 1) * block < s.samples:
        out[place + block :][: times * block] = np.tile(out[place : place + block], times)
        place += s.of(s.rng.uniform(500.0, 1600.0))
    return out


def _game(s: Studio) -> Signal:
    def sound(_: int) -> Signal:
        which = s.rng.integers(3)
        if which == 0:
            return np.concatenate([0.3 * s.square(988.0, 80.0), 0.3 * s.square(1319.0, 250.0)])
        t = s.time(180.0)
        if which == 1:
            return 0.3 * np.sign(np.sin(2 * np.pi * (1500.0 * t - 3500.0 * t * t)))
        return s.decay(_held(s, s.noise(300.0, 0.4), 6), 80.0)

    return np.clip(s.scattered(600.0, sound), -1.0, 1.0)


def _modem(s: Studio) -> Signal:
    bits = np.repeat(s.rng.integers(0, 2, s.samples), s.of(1000 / 300))[: s.samples]
    phase = np.cumsum(np.where(bits, 1270.0, 1070.0)) / s.rate
    made: Signal = 0.4 * np.sin(2 * np.pi * phase)
    return made


def _telegraph(s: Studio) -> Signal:
    """Return a random telegraph signal: two levels, changed at random times."""
    changes = s.rng.random(s.samples) < 1.0 / s.of(15.0)
    made: Signal = np.asarray(0.5 * (1.0 - 2.0 * (np.cumsum(changes) % 2)), np.float64)
    return made


def _ramps(s: Studio) -> Signal:
    gain = np.abs((s.time() * 0.8) % 2.0 - 1.0)
    made: Signal = s.music() * gain
    return made


def _strum(s: Studio, ms: float) -> Callable[[int], Signal]:
    return lambda n: s.fade(s.pluck(s.scale(n, 82.0), ms, 40.0), 0.0, 4.0)


def _drawn(s: Studio, ms: float, ring_ms: float, level: float = 0.5) -> Callable[[int], Signal]:
    return lambda n: s.decay(s.noise(ms, level), ring_ms * s.rng.uniform(0.6, 1.4), 0.3)


def _same(s: Studio, period_ms: float, sound: Signal) -> Signal:
    return s.every(period_ms, lambda n: sound)


def _one(s: Studio) -> Callable[[int], Signal]:
    return lambda n: np.full(1, 0.5 if n % 4 else 0.9)


UNDAMAGED: dict[str, Maker] = {
    # Signs and signals
    "morse 20 wpm, keyed hard": lambda s: _morse(s, 20.0),
    "morse 12 wpm, keyed hard": lambda s: _morse(s, 12.0),
    "morse 35 wpm, edges of 4 ms": lambda s: _morse(s, 35.0, 4.0),
    "morse by hand, in noise": lambda s: _morse(s, 17.3, 1.0) + s.noise(None, 0.003),
    "DTMF 50 ms on and off": lambda s: _dtmf(s, 50.0, 50.0),
    "DTMF 100 ms on, 60 ms off": lambda s: _dtmf(s, 100.0, 60.0),
    "engaged tone": lambda s: _cadence(s, 0.3 * s.tone(425.0), (480.0, 480.0)),
    "ringing tone": lambda s: _cadence(s, 0.3 * s.tone(425.0), (400.0, 200.0, 400.0, 2000.0)),
    "ringtone": lambda s: _cadence(s, _held(s, _chip(s, 0.5, 90.0), 1), (700.0, 500.0)),
    "pulse dialling": lambda s: _cadence(s, s.coloured(None, 1.0, 0.1), (33.0, 67.0)),
    "time signal": lambda s: _cadence(s, 0.4 * s.tone(1000.0), (100.0, 900.0)),
    "pips on a test tone": lambda s: 0.3 * s.tone(440.0) * _cadence(s, np.ones(s.samples), (950.0, 50.0)),
    "line-up tone with breaks": lambda s: _cadence(s, 0.3 * s.tone(1000.0), (1750.0, 250.0)),
    "beeps of a reversing lorry": lambda s: _cadence(s, 0.3 * s.square(1250.0), (500.0, 500.0)),
    "smoke alarm": lambda s: _cadence(s, 0.5 * s.tone(3100.0), (500.0, 500.0, 500.0, 500.0, 500.0, 1500.0)),
    "bursts of sines": lambda s: _cadence(s, 0.4 * s.tone(1000.0), (20.0, 180.0)),
    "bursts of drawn lengths": lambda s: _bursts(s, (60.0, 300.0), (60.0, 300.0)),
    "short bursts of drawn lengths": lambda s: _bursts(s, (10.0, 60.0), (30.0, 200.0)),
    "modem": _modem,
    "sonar": lambda s: s.every(950.0, lambda n: s.decay(0.8 * s.tone(1200.0, 400.0), 60.0, 2.0)),
    "bat detector": lambda s: s.every(95.0, lambda n: s.fade(_sweep(s, 8.0)[::-1], 0.5, 0.5), 12.0),
    # Strokes
    "metronome, clicks of 10 ms": lambda s: s.every(500.0, lambda n: s.fade(0.7 * s.tone(1500.0, 10.0), 0.5, 2.0)),
    "metronome, one sample": lambda s: s.every(500.0, _one(s)),
    "metronome, one sample, slow": lambda s: s.every(1000.0, _one(s)),
    "metronome, one sample, 54 a minute, in a room": lambda s: s.coloured(None, 1.0, 0.001) + s.every(1111.1, _one(s)),
    "metronome, one sample, over music": lambda s: 0.5 * s.music() + s.every(900.0, _one(s)),
    "hi-hats of one sample": lambda s: s.every(125.0, _one(s)),
    "hi-hats of one sample, over a bass": lambda s: 0.3 * s.tone(55.0) + s.every(125.0, _one(s)),
    "ticking clock": lambda s: s.every(250.0, lambda n: s.decay(s.noise(8.0, 0.5 if n % 2 else 0.4), 1.0)),
    "clock in a quiet room": lambda s: s.coloured(None, 1.0, 0.001) + s.every(1000.0, lambda n: s.decay(s.noise(8.0, 0.3), 1.0)),
    "Geiger counter": lambda s: s.scattered(120.0, lambda n: s.decay(np.full(s.of(1.5), 0.7), 0.3)),
    "Geiger counter in noise": lambda s: s.noise(None, 0.001) + s.scattered(300.0, lambda n: s.decay(np.full(s.of(1.5), 0.7), 0.3)),
    "footsteps": lambda s: s.every(560.0, _drawn(s, 120.0, 15.0), 40.0),
    "claps": lambda s: s.scattered(130.0, _drawn(s, 60.0, 6.0)),
    "claps in time": lambda s: s.every(480.0, _drawn(s, 80.0, 8.0), 15.0),
    "typing": lambda s: s.scattered(170.0, _drawn(s, 40.0, 4.0)),
    "castanets": lambda s: s.every(130.0, lambda n: s.decay(s.tone(2500.0, 30.0) + s.noise(30.0), 3.0), 20.0),
    "bouncing ball": _bouncing,
    "popcorn": lambda s: s.scattered(90.0, _drawn(s, 25.0, 2.0)),
    "fireworks": lambda s: s.scattered(500.0, _drawn(s, 700.0, 120.0, 0.6)),
    "rain on a tin roof": lambda s: s.scattered(25.0, _drawn(s, 10.0, 1.0, 0.2)),
    "heartbeat": lambda s: s.every(430.0, lambda n: s.kick(140.0) * (0.5 + 0.5 * (n % 2))),
    "horse": lambda s: s.every(160.0, lambda n: s.decay(s.tone(400.0 + 80 * (n % 3), 60.0), 9.0, 0.3) * float(n % 4 < 3)),
    "drum loop of samples": _drum_loop,
    "gated snare, 120 ms": lambda s: s.every(240.0, lambda n: 1.2 * s.fade(s.decay(s.noise(120.0, 0.3), 300.0), 0.0, 0.0)),
    "gated snare, slow": lambda s: s.every(600.0, lambda n: s.decay(s.noise(250.0, 0.3), 400.0)),
    "bass drum alone": lambda s: s.every(500.0, lambda n: s.kick(180.0)),
    "snare roll": lambda s: s.every(62.0, lambda n: s.drum(45.0), 4.0),
    "breakbeat, chopped": lambda s: s.every(166.0, lambda n: s.rng.choice([0.5, 1.0]) * (s.drum, s.kick)[n % 2](s.rng.uniform(60.0, 160.0))),
    # Played
    "staccato, release of 20 ms": lambda s: _notes(s, 130.0, 120.0, 20.0),
    "staccato, release of 2 ms": lambda s: _notes(s, 100.0, 150.0, 2.0, 1.0),
    "staccato organ, cut": lambda s: _notes(s, 180.0, 70.0, 0.0, 0.0),
    "arpeggio without rests, cut": lambda s: _notes(s, 125.0, 0.0, 0.0, 0.0),
    "one note struck again, cut": lambda s: s.joined(s.pluck(110.0, 250.0, 400.0) for _ in range(999)),
    "one tone begun again": lambda s: s.joined(s.harmonics(110.0, 237.0) for _ in range(999)),
    "melody with rests, by hand": lambda s: _played(s, 10.0),
    "melody with rests, by hand, cut": lambda s: _played(s, 0.5),
    "chip tune": lambda s: _chip(s, 0.5),
    "chip tune, thin pulses": lambda s: _chip(s, 0.125, 90.0),
    "chip tune in stereo": lambda s: np.stack([_chip(s, 0.5), _chip(s, 0.25, 165.0)], axis=1),
    "pizzicato": lambda s: s.every(300.0, lambda n: s.fade(s.pluck(s.scale(n), 220.0, 50.0), 0.0, 5.0), 20.0),
    "palm-muted guitar": lambda s: np.tanh(4 * s.every(150.0, _strum(s, 90.0))) * 0.5,
    "muted guitar, gated": lambda s: s.gated(np.tanh(6 * s.every(150.0, _strum(s, 150.0))) * 0.5, 150.0, 0.6, 1.0),
    "slap bass": lambda s: s.every(250.0, lambda n: s.fade(s.pluck(s.scale(n, 55.0), s.rng.choice([80, 160, 230]), 200.0), 0.0, 3.0)),
    "piano, staccato": lambda s: s.every(330.0, lambda n: s.fade(s.pluck(s.scale(n), 140.0, 400.0), 0.0, 30.0), 12.0),
    "arpeggio, gated": lambda s: s.gated(_notes(s, 125.0, 0.0, 1.0), 125.0, 0.7, 3.0),
    "phrases, rests of 0.5 s, fades of 10 ms": lambda s: _phrases(s, 480.0, 10.0, (1300.0,)),
    "phrases of many lengths, fades of 5 ms": lambda s: _phrases(s, 350.0, 5.0, (700.0, 1500.0, 400.0, 1100.0)),
    "stop time, cut hard": lambda s: _phrases(s, 430.0, 0.0, (860.0, 430.0)),
    "bells": lambda s: s.scattered(700.0, lambda n: s.decay(s.harmonics(s.scale(n, 700.0), 1500.0), 300.0)),
    "tapping on a string": lambda s: s.every(90.0, lambda n: s.decay(s.tone(s.scale(n), 60.0), 15.0, 1.0)),
    # Made in a studio
    "trance gate, edges of 2 ms": lambda s: s.gated(s.music(), 125.0, 0.55, 2.0),
    "trance gate, cut": lambda s: s.gated(s.music(), 140.0, 0.5, 0.0),
    "trance gate, short breaks": lambda s: s.gated(s.music(), 250.0, 0.9, 1.0),
    "tremolo, square": lambda s: s.gated(s.music(), 160.0, 0.5, 5.0),
    "tremolo, deep": lambda s: s.music() * (0.5 + 0.5 * s.tone(6.0)),
    "pumping bass": lambda s: s.music() * np.clip(((s.time() * 1000) % 500) / 300, 0.02, 1.0) + s.every(500.0, lambda n: s.kick()),
    "stutter of sixteenths": lambda s: _stutter(s, 125.0, 3),
    "stutter of thirty-seconds": lambda s: _stutter(s, 62.5, 7),
    "stutter of a sixteenth, once": lambda s: _stutter(s, 125.0, 1, 500.0),
    "stutter of a thirty-second, twice": lambda s: _stutter(s, 62.5, 2, 1000.0),
    "stutter, faster and faster": lambda s: _stutter(s, 31.25, 12),
    "glitch loop of 80 ms": lambda s: _glitch(s, 80.0),
    "glitch loop of 160 ms": lambda s: _glitch(s, 160.0),
    "chopped vocal": lambda s: s.every(250.0, lambda n: s.vowel(250.0, 200.0, n)[s.of(30.0) : s.of(30.0 + s.rng.choice([90, 140, 190]))]),
    "one sample, again and again": lambda s: _same(s, 375.0, s.drum(200.0)),
    "grains": lambda s: s.scattered(60.0, lambda n: s.fade(0.5 * s.tone(s.rng.uniform(300, 2000), 40.0), 10.0, 10.0)),
    "turned off and on, fades of 15 ms": lambda s: _muted(s, 15.0),
    "turned off and on, fades of 60 ms": lambda s: _muted(s, 60.0),
    "volume ramps": _ramps,
    "fade in and out": lambda s: s.fade(s.music(), 2500.0, 2500.0),
    "distorted music": lambda s: _clip(s.music(), 8.0),
    "clipped voice": lambda s: _clip(s.speech(s.rest, (60.0, 300.0)), 6.0),
    # Many places, in no rhythm
    "gated at random": lambda s: s.music() * _keyed(s, (30.0, 300.0), (20.0, 200.0)),
    "gated at random, short cuts": lambda s: s.music() * _keyed(s, (60.0, 400.0), (5.0, 40.0)),
    "noise gated at random": lambda s: s.coloured() * _keyed(s, (30.0, 300.0), (10.0, 100.0)),
    "transformer scratch": lambda s: s.music() * _keyed(s, (40.0, 90.0), (30.0, 80.0)),
    "sixty-fourths at random": lambda s: s.music() * np.repeat(s.rng.random(999) < 0.7, s.of(31.25))[: s.samples],
    "applause": lambda s: np.clip(s.scattered(20.0, _drawn(s, 60.0, 8.0, 0.2)), -1.0, 1.0),
    "crackling fire": lambda s: s.scattered(90.0, _drawn(s, 12.0, 0.8, 0.4)) + s.coloured(None, 1.5, 0.02),
    "telegraph sounder": lambda s: s.scattered(110.0, _drawn(s, 12.0, 1.5)) + s.coloured(None, 1.0, 0.001),
    "stutter of 80 ms, drawn": lambda s: _drawn_stutter(s, 80.0, 2),
    "stutter of 20 ms, drawn": lambda s: _drawn_stutter(s, 20.0, 4),
    "speech behind a hard gate": lambda s: _noise_gate(s, s.speech(s.rest, (60.0, 300.0)), 0.02, 15.0, 0.1),
    "speech behind a noise gate": lambda s: _noise_gate(s, s.speech(s.rest, (60.0, 300.0)) + s.coloured(None, 1.0, 0.002), 0.01, 30.0, 20.0),
    "drums of one bit": lambda s: 0.5 * np.sign(np.round(8.0 * _drum_loop(s))),
    "voice over beeps": lambda s: 0.5 * s.speech(s.rest, (60.0, 300.0)) + _cadence(s, 0.3 * s.tone(1000.0), (50.0, 430.0)),
    # Cut by whoever made them
    "theremin, equal stops": lambda s: _stopped(s, _theremin(s), 60.0, (440.0, 440.0)),
    "theremin, equal stops of 40 ms": lambda s: _stopped(s, _theremin(s), 40.0, (320.0, 320.0)),
    "theremin, equal stops, drawn": lambda s: _stopped(s, _theremin(s), 60.0, (200.0, 700.0)),
    "theremin, stops of 20 ms, drawn": lambda s: _stopped(s, _theremin(s), 20.0, (80.0, 260.0)),
    "theremin with stops of a sequencer": lambda s: _sequenced(s, _theremin(s), 30.0, 0.1),
    "a steady tone with a drawn tenth of 20 ms steps left out": lambda s: _sequenced(s, 0.3 * s.tone(440.0), 20.0, 0.1),
    "organ with stops of a sequencer": lambda s: _sequenced(s, s.harmonics(196.0) + s.harmonics(294.0), 20.0, 0.12),
    "organ, equal stops": lambda s: _stopped(s, s.harmonics(196.0) + s.harmonics(294.0), 30.0, (240.0, 240.0)),
    "organ, stops by hand": lambda s: _stopped(s, s.harmonics(196.0) + s.harmonics(247.0), 50.0, (150.0, 900.0)),
    "music, equal cuts at random": lambda s: _stopped(s, s.music(), 50.0, (60.0, 400.0)),
    "music, equal cuts of 20 ms at random": lambda s: _stopped(s, s.music(), 20.0, (40.0, 200.0)),
    "music through a sequencer, 60 ms": lambda s: _sequenced(s, s.music(), 60.0, 0.26),
    "music through a sequencer, 30 ms": lambda s: _sequenced(s, s.music(), 30.0, 0.3),
    "music through a sequencer, 40 ms": lambda s: _sequenced(s, s.music(), 40.0, 0.2),
    "music gated at random, seldom": lambda s: s.music() * _keyed(s, (150.0, 900.0), (30.0, 250.0)),
    "music gated at random, short": lambda s: s.music() * _keyed(s, (30.0, 150.0), (10.0, 60.0)),
    "voice gated at random": lambda s: s.vowel(s.length_ms, 170.0)[: s.samples] * _keyed(s, (60.0, 300.0), (20.0, 150.0)),
    "glitch music": lambda s: _glitches(s, 400.0),
    "glitch music, dense": lambda s: _glitches(s, 150.0),
    "speech chip": _chip_speech,
    "samples that cut each other off": lambda s: _choked(s, 180.0, 0.3),
    "samples that cut each other off, in time": lambda s: _choked(s, 160.0, 0.0),
    "samples that cut each other off, with rests": lambda s: _choked(s, 200.0, 0.3, 0.7),
    "drums of one bit, slow": lambda s: _one_bit(s, s.every(300.0, lambda n: (s.kick, s.drum)[n % 2](250.0), 20.0), 0.08),
    "drums of one bit, by hand": lambda s: _one_bit(s, s.scattered(250.0, lambda n: s.drum(180.0)), 0.05),
    "plucks of one bit": lambda s: _one_bit(s, s.scattered(300.0, lambda n: s.pluck(s.scale(n), 400.0)), 0.04),
    "speech of one bit": lambda s: _one_bit(s, _words(s), 0.05),
    "speech behind a hard gate, quick": lambda s: _noise_gate(s, _words(s), 0.03, 5.0, 0.1),
    "speech behind a hard gate, high": lambda s: _noise_gate(s, _words(s), 0.06, 30.0, 0.1),
    "speech in noise behind a hard gate": lambda s: _noise_gate(s, _words(s) + s.coloured(None, 1.0, 0.01), 0.02, 8.0, 0.1),
    "music behind a hard gate": lambda s: _noise_gate(s, s.music() * (0.3 + 0.7 * np.abs(s.tone(0.9))), 0.1, 15.0, 0.1),
    "voice over beeps, quick": lambda s: 0.5 * _words(s) + _beeps(s, 1500.0, (30.0, 170.0)),
    "voice over beeps, soft": lambda s: 0.6 * _words(s) + _beeps(s, 800.0, (100.0, 400.0), 0.1),
    "voice over beeps of a monitor": lambda s: 0.5 * _words(s) + _beeps(s, 950.0, (120.0, 680.0), 0.2),
    "voice with bleeps": _bleeped,
    "hocket": lambda s: _stopped(s, s.music(), 110.0, (110.0, 330.0)),
    "vowels, cut": lambda s: s.joined(s.vowel(s.rng.uniform(150.0, 500.0), s.scale(n, 130.0), n)[s.of(30.0) : -s.of(70.0)] for n in range(99)),
    "trumpet, tongued": lambda s: _stopped(s, s.harmonics(330.0, None, 0.5), 25.0, (120.0, 420.0)),
    "mute button": lambda s: s.music() * _keyed(s, (300.0, 1500.0), (60.0, 200.0)),
    # Channels
    "two channels in turn": lambda s: _in_turn(s, 0.4 * s.tone(440.0), 0.4 * s.tone(554.0), 250.0),
    "music from side to side": lambda s: _in_turn(s, s.music(), s.music(), 330.0),
    "echo from side to side": lambda s: np.stack([s.every(600.0, lambda n: s.drum(180.0)), np.roll(s.every(600.0, lambda n: s.drum(180.0)), s.of(300.0))], axis=1),
    "two speakers, two channels": _talk,
    "voice left, drums right": lambda s: np.stack([s.speech(s.rest, (80.0, 500.0)), _drum_loop(s)], axis=1),
    "one channel silent": lambda s: np.stack([s.music(), np.zeros(s.samples)], axis=1),
    "hard panned notes": lambda s: np.stack([_notes(s, 200.0, 200.0, 3.0), np.roll(_notes(s, 200.0, 200.0, 3.0), s.of(200.0))], axis=1),
    # Speech
    "speech, pauses to zero": lambda s: _vad(s, None),
    "speech, comfort noise": lambda s: _vad(s, -65.0),
    "speech, clean": lambda s: s.speech(s.rest, (60.0, 600.0)),
    "speech, pauses of room noise": lambda s: s.speech(s.rest, (60.0, 600.0)) + s.coloured(None, 1.0, 0.002),
    "speech, gated late": lambda s: s.speech(lambda ms: np.concatenate([s.noise(80.0, 0.01), s.rest(ms)]), (150.0, 700.0)),
    "announcement of joined words": _prompts,
    "push-to-talk radio": _radio,
    # Waves and measurements
    "square wave 20 Hz": lambda s: 0.5 * s.square(20.0),
    "square wave 55 Hz": lambda s: 0.5 * s.square(55.0),
    "square wave 441 Hz": lambda s: 0.5 * s.square(441.0),
    "square wave 3 kHz": lambda s: 0.5 * s.square(3000.0),
    "pulse wave 30 Hz, 5 % on": lambda s: 0.5 * s.square(30.0, None, 0.05),
    "pulse width modulation": lambda s: np.where((s.time() * 90.0) % 1.0 < 0.5 + 0.45 * s.tone(0.7), 0.4, -0.4),
    "impulses at 3 Hz": lambda s: _pulses(s, 3.0),
    "impulses at 25 Hz": lambda s: _pulses(s, 25.0),
    "impulses at 100 Hz": lambda s: _pulses(s, 100.0),
    "saw 80 Hz": lambda s: 0.8 * ((s.time() * 80.0) % 1.0) - 0.4,
    "clipped sine": lambda s: _clip(s.tone(60.0), 5.0),
    "half-wave rectified": lambda s: np.maximum(0.0, 0.7 * s.tone(50.0)),
    "digital silence": lambda s: np.zeros(s.samples),
    "constant": lambda s: np.full(s.samples, 0.3),
    "constant levels, 200 ms each": lambda s: _steps(s, 200.0),
    "constant levels, 15 ms each": lambda s: _steps(s, 15.0, 3),
    "random telegraph signal": _telegraph,
    "last bit": lambda s: s.rng.integers(-1, 2, s.samples) / 32768.0,
    "white noise": lambda s: s.noise(),
    "brown noise": lambda s: s.coloured(None, 2.0),
    "bursts of noise": lambda s: _cadence(s, s.noise(), (200.0, 300.0)),
    "pink noise, stepped in level": lambda s: s.coloured() * 10 ** (_steps(s, 500.0) - 1.0),
    "sweep": _sweep,
    "sweeps and silence": lambda s: s.every(1200.0, lambda n: _sweep(s, 700.0)),
    "stepped sines with gaps": lambda s: s.every(300.0, lambda n: 0.4 * s.tone(50.0 * 1.5**n % 8000, 220.0)),
    "impulse responses": lambda s: s.every(1100.0, lambda n: _response(s)),
    "beating tones": lambda s: 0.3 * (s.tone(440.0) + s.tone(445.0)),
    "ring modulation": lambda s: 0.5 * s.tone(300.0) * s.tone(30.0),
    "electrocardiogram": lambda s: s.every(830.0, lambda n: s.fade(0.6 * s.tone(12.0, 80.0), 20.0, 20.0)) + 0.01 * s.tone(0.3),
    "music of 8 bits": lambda s: _crushed(s.music(), 8),
    "quiet music of 8 bits": lambda s: _crushed(0.1 * s.music(), 8),
    "music of 4 bits": lambda s: _crushed(s.music(), 4),
    "samples held eight times": lambda s: _held(s, s.music(), 8),
    "samples held forty times": lambda s: _held(s, s.music(), 40),
    "clean music": lambda s: s.music(),
    "game": _game,
    "two squares, nearly in tune": lambda s: _two_squares(s, 220.0, 6.0),
    "two squares, nearly in tune, high": lambda s: _two_squares(s, 440.0, 6.0),
    "two squares, less in tune": lambda s: _two_squares(s, 440.0, 10.0),
    "two squares, less in tune, low": lambda s: _two_squares(s, 110.0, 10.0),
    "lead of two pulses, filtered": lambda s: _lead(s, 0.25, 12.0, 5000.0),
    "lead of two thin pulses, filtered, with rests": lambda s: _lead(s, 0.125, 8.0, 7000.0, 150.0),
    "lead of two squares, filtered": lambda s: _lead(s, 0.5, 6.0, 6000.0),
    "lead of two saws": lambda s: _lead(s, 0.0, 8.0, 3000.0),
    "lead of two saws, with rests": lambda s: _lead(s, 0.0, 12.0, 20_000.0, 150.0),
}  # fmt: skip
"""Name to maker; shape (n,) or (n, 2)."""


def undamaged(
    kind: str, sample_rate: int = 44_100, seconds: float = 6.0, seed: int = 0
) -> NDArray[np.float32]:
    """Return an undamaged recording of 16 bits.

    Parameters
    ----------
    kind : str, one of :data:`UNDAMAGED`
    sample_rate : int, in Hz
    seconds : float, its length
    seed : int, of what is drawn
    """
    rng = np.random.default_rng([seed, *kind.encode()])
    made = UNDAMAGED[kind](Studio(rng, sample_rate, round(seconds * sample_rate)))
    rows: NDArray[np.float32] = np.round(np.clip(made, -1.0, 1.0) * 32767).astype(np.float32)
    return rows.reshape(len(rows), -1) / np.float32(32768.0)
