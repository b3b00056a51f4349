"""Damage made on purpose, and files that hold it.

Each clip gets each kind in turn, of drawn lengths at drawn places: 0.4 s apart, and only where the
clip sounds on both sides and in what is lost. What nobody could hear is no damage.
"""

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

LENGTHS_MS = (5.0, 10.0, 20.0, 40.0, 80.0, 150.0)
CLICK_LENGTHS_MS = (0.02, 0.2, 1.0)
KINDS = ("silence", "repeat", "dropout", "click", "invalid")
# By suffix, libsndfile's format and subtype. Only float samples hold NaN.
CONTAINERS = {
    "wav": ("WAV", "PCM_16"),
    "float": ("WAV", "FLOAT"),
    "ogg": ("OGG", "VORBIS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "opus": ("OGG", "OPUS"),
}
OPUS_RATE = 48_000

_APART_S = 0.4
_MARGIN_S = 0.4
_DRAWS = 60
# Sound on both sides of damage, and in what it takes away.
_SIDE_MS = 5.0
_AUDIBLE_RMS = 10 ** (-45 / 20)
REPEAT_SNR_DB = 6.0
"""A repeated block that is nearer than this to what it replaces is none."""
# A stuck block is as long as packets are.
_STUCK_MS = (5.0, 10.0, 20.0)
_RAMP_MS = (0.5, 5.0)
# A click is so much louder than the 20 ms around it.
_CLICK_RATIO = (6.0, 15.0)
_FULL_SCALE = 0.99


@dataclass(frozen=True, slots=True)
class Damage:
    """One place of damage.

    Attributes
    ----------
    start, stop : int, in samples
    kind : str, one of :data:`KINDS`
    length_ms : float, the drawn length
    """

    start: int
    stop: int
    kind: str
    length_ms: float


def damaged(
    signal: NDArray[np.float32], sample_rate: int, kinds: tuple[str, ...], seed: int
) -> tuple[NDArray[np.float32], list[Damage]]:
    """Return a damaged copy of a clip, and its damage.

    Parameters
    ----------
    signal : float32, shape (n,), the clip
    sample_rate : int, in Hz
    kinds : tuple of str, of :data:`KINDS`; they take turns
    seed : int, of places, lengths and shapes

    Returns
    -------
    float32, shape (n,), the damaged copy
    list of Damage, in order
    """
    rng = np.random.default_rng(seed)
    out = signal.copy()
    done: list[Damage] = []
    place = round(_MARGIN_S * sample_rate)
    turn = int(rng.integers(len(kinds)))
    apart = round(_APART_S * sample_rate)
    while place + 2 * apart < signal.size:
        kind = kinds[turn % len(kinds)]
        lengths = CLICK_LENGTHS_MS if kind == "click" else LENGTHS_MS
        length_ms = float(rng.choice(lengths))
        samples = max(1, round(length_ms * sample_rate / 1000))
        for _ in range(_DRAWS):
            start = place + int(rng.integers(apart))
            stop = start + samples
            if stop + apart > signal.size or not sounds(signal, start, stop, sample_rate):
                continue
            piece = _MAKERS[kind](signal, start, stop, sample_rate, rng)
            if piece is not None:
                out[start:stop] = piece
                done.append(Damage(start, stop, kind, length_ms))
                place = stop
                break
        place += apart
        turn += 1
    return out, done


def through(container: str, signal: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """Return a signal after coding and decoding, of the same length.

    Parameters
    ----------
    container : str, one of :data:`CONTAINERS`, at libsndfile's own bit rate
    signal : float32, shape (n,), samples
    sample_rate : int, in Hz; :data:`OPUS_RATE` for Opus
    """
    kind, subtype = CONTAINERS[container]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip"
        with soundfile.SoundFile(path, "w", sample_rate, 1, subtype=subtype, format=kind) as file:
            for start in range(0, signal.size, 2**15):
                file.write(signal[start : start + 2**15])
        heard: NDArray[np.float32] = soundfile.read(path, dtype="float32")[0]
    return np.pad(heard, (0, max(0, signal.size - heard.size)))[: signal.size]


def sounds(signal: NDArray[np.float32], start: int, stop: int, sample_rate: int) -> bool:
    """Say whether damage is heard: sound before, behind, and in its place."""
    side = round(_SIDE_MS * sample_rate / 1000)
    long = max(stop, start + side)
    around = (signal[start - side : start], signal[start:long], signal[stop : stop + side])
    return all(rms(part) >= _AUDIBLE_RMS for part in around)


def rms(part: NDArray[np.float32]) -> float:
    """Return the level of a stretch."""
    return float(np.sqrt(np.mean(part.astype(np.float64) ** 2)))


_Piece = NDArray[np.float32] | None


def _silence(
    signal: NDArray[np.float32], start: int, stop: int, rate: int, rng: np.random.Generator
) -> _Piece:
    return np.zeros(stop - start, np.float32)


def _invalid(
    signal: NDArray[np.float32], start: int, stop: int, rate: int, rng: np.random.Generator
) -> _Piece:
    return np.full(stop - start, rng.choice([np.nan, np.inf, -np.inf]), np.float32)


def _repeat(
    signal: NDArray[np.float32], start: int, stop: int, rate: int, rng: np.random.Generator
) -> _Piece:
    """Repeat earlier samples: one block of the length, or a shorter one several times."""
    samples = stop - start
    blocks = [samples]
    blocks += [n for n in (round(ms * rate / 1000) for ms in _STUCK_MS) if 2 * n <= samples]
    block = int(rng.choice(blocks))
    if block > start:
        return None
    piece = np.resize(signal[start - block : start], samples)
    error = rms(piece - signal[start:stop])
    if error < rms(signal[start:stop]) * 10 ** (-REPEAT_SNR_DB / 20):
        return None
    return piece


def _dropout(
    signal: NDArray[np.float32], start: int, stop: int, rate: int, rng: np.random.Generator
) -> _Piece:
    """Fade down and up again, to silence or to a remainder."""
    samples = stop - start
    floor = float(rng.choice([0.0, 0.01]))
    gain = np.full(samples, floor)
    for side in (gain, gain[::-1]):
        longest = min(_RAMP_MS[1], 400 * samples / rate)
        ramp = max(2, round(rng.uniform(_RAMP_MS[0], longest) * rate / 1000))
        fall = (np.arange(ramp) + 0.5) / ramp
        if rng.random() < 0.5:
            fall = 0.5 - 0.5 * np.cos(math.pi * fall)
        side[:ramp] = np.maximum(floor, 1.0 - fall)
    faded: NDArray[np.float32] = (signal[start:stop] * gain).astype(np.float32)
    return faded


def _click(
    signal: NDArray[np.float32], start: int, stop: int, rate: int, rng: np.random.Generator
) -> _Piece:
    """Add an impulse; a longer one dies away within its length."""
    around = round(10 * rate / 1000)
    height = rng.uniform(*_CLICK_RATIO) * rms(signal[start - around : stop + around])
    n = np.arange(stop - start)
    shape = np.exp(-3.0 * n / max(1, n.size)) * np.where(n == 0, 1.0, rng.uniform(-1, 1, n.size))
    piece = signal[start:stop] + height * rng.choice([-1.0, 1.0]) * shape
    clipped: NDArray[np.float32] = np.clip(piece, -_FULL_SCALE, _FULL_SCALE).astype(np.float32)
    return clipped


_Maker = Callable[
    [NDArray[np.float32], int, int, int, np.random.Generator], NDArray[np.float32] | None
]
_MAKERS: dict[str, _Maker] = {
    "silence": _silence,
    "repeat": _repeat,
    "dropout": _dropout,
    "click": _click,
    "invalid": _invalid,
}
