"""No pattern of losses makes a concealment louder than what was received, whatever fills it."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

import plc
from plc_bench.scores.loudness import GHOST_AFTER_S, GHOST_DB, LOUDEST_FILL_DB, Loudness
from tests.examples import examples
from tests.signals import sine, tones, voice

SILENCE_S = 1.5
Signal = NDArray[np.float32]


def bundled(name: str, sample_rate: int, samples: int) -> Signal:
    """Return a recording of the package, taken as it is for any rate."""
    path = Path(plc.__file__).with_name("data") / f"{name}.flac"
    x, _ = soundfile.read(path, dtype="float32", always_2d=True)
    return np.resize(x[:, 0], samples).astype(np.float32)


def chirp(sample_rate: int, samples: int) -> Signal:
    t = np.arange(samples) / sample_rate
    top_hz = 0.4 * sample_rate
    phase = 2 * np.pi * 50.0 * t[-1] / math.log(top_hz / 50.0)
    x: Signal = np.sin(phase * ((top_hz / 50.0) ** (t / t[-1]) - 1.0)).astype(np.float32)
    return x


def notes(sample_rate: int, samples: int) -> Signal:
    """Return plucked notes of a tenth of a second, each cut off at its end."""
    x = tones(5, sample_rate, samples, 0.2)
    on = (np.arange(samples) / sample_rate) % 0.3 < 0.1
    return np.where(on, x, 0.0).astype(np.float32)


CONTENTS: dict[str, Callable[[int, int], Signal]] = {
    "music": lambda rate, n: bundled("music", rate, n),
    "speech": lambda rate, n: bundled("speech", rate, n),
    "voice": lambda rate, n: voice(rate, n / rate, 140.0, 0.2)[:n],
    "tones": lambda rate, n: tones(3, rate, n),
    "square": lambda rate, n: np.sign(sine(217.0, rate, n) + 1e-6).astype(np.float32),
    "chirp": chirp,
    "notes": notes,
}
REGULAR = ("011", "0111", "0011", "01111", "01", "001", "0101101")


def random_trace(share: float, packets: int, seed: int) -> NDArray[np.bool_]:
    return np.random.default_rng(seed).random(packets) < share


def regular_trace(pattern: str, packets: int) -> NDArray[np.bool_]:
    return np.resize([each == "1" for each in pattern], packets)


def attack(
    content: str,
    sample_rate: int,
    packet_samples: int,
    trace: Callable[[int], NDArray[np.bool_]],
    lookahead: int = 0,
    model: str = "auto",
    seconds: float = 2.5,
) -> tuple[float, float]:
    """Return how loud a stream's concealments were at most.

    Returns
    -------
    excess_db : float
        Above what was received in the 8 s before.
    ghost_db : float
        Re full scale, half a second and more after the sound has ended.
    """
    rate = sample_rate
    sound = CONTENTS[content](rate, round(seconds * rate))
    signal = np.concatenate([sound, np.zeros(round(SILENCE_S * rate), np.float32)])
    count = signal.size // packet_samples
    packets = np.split(signal[: count * packet_samples, None], count)
    lost = trace(count)
    lost[0] = False
    loudness = Loudness(rate, packet_samples)
    excess_db, ghost_db = -math.inf, -math.inf
    ended = sound.size + GHOST_AFTER_S * rate
    quiet = False
    concealer = plc.Concealer(rate, 1, packet_samples, lookahead, model=model, budget_ms=math.inf)
    for i, packet in enumerate(packets):
        loudness.receive(None if lost[i] else packet)
        out = concealer.push(None if lost[i] else packet)
        played = i - lookahead
        # Nobody knows that a sound has ended before something was received after it.
        quiet = quiet or (not lost[i] and i * packet_samples >= sound.size)
        if played < 0 or not lost[played]:
            continue
        assert out.dtype == np.float32
        excess_db = max(excess_db, loudness.excess_db(out.astype(np.float32, copy=False)))
        if quiet and played * packet_samples >= ended:
            peak = float(np.abs(out).max())
            ghost_db = max(ghost_db, 20.0 * math.log10(max(peak, 1e-30)))
    concealer.close()
    return excess_db, ghost_db


@pytest.mark.parametrize("pattern", ["011", "0111", "0011"])
@pytest.mark.parametrize("model", ["auto", "ar"])
def test_regular_losses_of_music_do_not_feed_on_themselves(pattern: str, model: str) -> None:
    excess_db, ghost_db = attack(
        "music", 48_000, 480, lambda n: regular_trace(pattern, n), model=model, seconds=4.0
    )
    assert excess_db <= LOUDEST_FILL_DB
    assert ghost_db <= GHOST_DB


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("model", ["auto", "ar"])
def test_no_fill_outgrows_any_content(content: str, model: str) -> None:
    excess_db, ghost_db = attack(
        content, 48_000, 240, lambda n: regular_trace("011", n), model=model
    )
    assert excess_db <= LOUDEST_FILL_DB
    assert ghost_db <= GHOST_DB


@examples(100, few=4)
@given(
    content=st.sampled_from(tuple(CONTENTS)),
    sample_rate=st.sampled_from([8000, 16_000, 32_000, 44_100, 48_000, 96_000]),
    packet_ms=st.sampled_from([1.0, 1.33, 2.5, 5.0, 10.0, 13.4, 20.0, 60.0, 120.0]),
    losses=st.one_of(
        st.sampled_from(REGULAR),
        st.tuples(st.floats(0.1, 0.95), st.integers(0, 1000)),
    ),
    lookahead=st.integers(0, 2),
)
@example("music", 8000, 60.0, (0.5, 23), 0)
def test_no_losses_make_a_fill_louder_than_what_was_received(
    content: str,
    sample_rate: int,
    packet_ms: float,
    losses: str | tuple[float, int],
    lookahead: int,
) -> None:
    def trace(packets: int) -> NDArray[np.bool_]:
        if isinstance(losses, str):
            return regular_trace(losses, packets)
        return random_trace(losses[0], packets, losses[1])

    packet_samples = round(sample_rate * packet_ms / 1000.0)
    excess_db, ghost_db = attack(content, sample_rate, packet_samples, trace, lookahead)
    assert excess_db <= LOUDEST_FILL_DB
    assert ghost_db <= GHOST_DB
