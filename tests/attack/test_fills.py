"""No pattern of losses makes a concealment louder than what was received, whatever fills it."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

import plc
from plc.programs.cli.app import app
from plc_bench.scores.loudness import GHOST_AFTER_S, GHOST_DB, LOUDEST_FILL_DB, Loudness
from tests.examples import examples, is_deep
from tests.options import ran
from tests.signals import sine, tones, voice

SILENCE_S = 1.5 if is_deep() else 0.8
SOUND_S = 2.5 if is_deep() else 1.25
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


PART_TRACES = ("whole", "ends", "middles", "crumbs")


def parts_lost(kind: str, packet_samples: int, lost: bool) -> list[tuple[int, int]] | None:
    """Return what is missing of a packet that a pattern hits; None: all of it."""
    n = packet_samples
    if not lost:
        return []
    if kind == "ends":
        return [(n // 3, n)]
    if kind == "middles":
        return [(n // 4, n // 2), (3 * n // 4, n - 1)]
    if kind == "crumbs":
        return [(at, at + 20) for at in range(1, n - 20, 45)]
    return None


def attack(
    content: str,
    sample_rate: int,
    packet_samples: int,
    trace: Callable[[int], NDArray[np.bool_]],
    lookahead: int = 0,
    model: str = "auto",
    seconds: float = SOUND_S,
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
        # Nobody knows how long silence has lasted but by what is received.
        quiet = quiet or (not lost[i] and (i - lookahead) * packet_samples >= ended)
        if played < 0 or not lost[played]:
            continue
        assert out.dtype == np.float32
        excess_db = max(excess_db, loudness.excess_db(out.astype(np.float32, copy=False)))
        if quiet:
            peak = float(np.abs(out).max())
            ghost_db = max(ghost_db, 20.0 * math.log10(max(peak, 1e-30)))
    concealer.close()
    return excess_db, ghost_db


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("model", ["auto", pytest.param("ar", marks=pytest.mark.deep)])
def test_no_fill_outgrows_any_content(content: str, model: str) -> None:
    excess_db, ghost_db = attack(
        content, 48_000, 240, lambda n: regular_trace("011", n), model=model
    )
    assert excess_db <= LOUDEST_FILL_DB
    assert ghost_db <= GHOST_DB


def play_in_parts(
    content: str, parts: str, pattern: str, lookahead: int, integer: bool
) -> tuple[float, float]:
    """Return as :func:`attack` does, of two channels, of which the second is silent throughout.

    What it says of the second is the loudest sample that is heard there.
    """
    rate, n = 16_000, 160
    sound = CONTENTS[content](rate, (8 * rate if is_deep() else 6 * rate // 10))
    scale = 32767.0 if integer else 1.0
    signal = np.stack([sound, np.zeros_like(sound)], axis=1)
    signal = np.rint(scale * signal.clip(-1.0, 1.0)) if integer else signal
    packets: NDArray[Any] = signal.astype(np.int16 if integer else np.float32).reshape(-1, n, 2)
    hit = regular_trace(pattern, len(packets))
    hit[0] = False
    loudness = Loudness(rate, n)
    concealer = plc.Concealer(rate, 2, n, lookahead, budget_ms=math.inf)
    excess_db, heard = -math.inf, 0.0
    for k, packet in enumerate(packets):
        missing = parts_lost(parts, n, bool(hit[k]))
        arrived = (packet / scale).astype(np.float32)
        for begin, stop in missing or ():
            arrived[begin:stop] = 0.0
        # A part of a packet is no louder than the packet: the bound is the stricter for it.
        loudness.receive(None if missing is None else arrived)
        if missing is None:
            out = concealer.push(None)
        else:
            rubbish = packet.copy()  # what stands in a part that is missing is not looked at
            for begin, stop in missing:
                rubbish[begin:stop] = 32_767 if integer else 1e6
            out = concealer.push(rubbish, missing=missing)
        assert out.dtype == packet.dtype
        played = k - lookahead
        if played >= 0 and hit[played]:
            fill = (out / scale).astype(np.float32)
            heard = max(heard, float(np.abs(fill[:, 1]).max()))
            excess_db = max(excess_db, loudness.excess_db(fill))
    assert concealer.stats.partial_packets == (0 if parts == "whole" else hit.sum())
    concealer.close()
    return excess_db, heard


@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("lookahead", [0, 2])
@pytest.mark.parametrize("parts", PART_TRACES)
@pytest.mark.parametrize("content", ["music", pytest.param("notes", marks=pytest.mark.deep)])
def test_parts_of_packets_and_channels_feed_neither_on_themselves_nor_on_each_other(
    content: str, parts: str, lookahead: int, integer: bool
) -> None:
    for pattern in ("011", "01", "0111") if is_deep() else ("011",):
        excess_db, heard = play_in_parts(content, parts, pattern, lookahead, integer)
        assert excess_db <= LOUDEST_FILL_DB
        assert heard <= 1e-3 * (1.0 + integer)


@pytest.mark.parametrize("lookahead", [0, pytest.param(1, marks=pytest.mark.deep), 2])
@pytest.mark.parametrize("pattern", ["011", pytest.param("0111", marks=pytest.mark.deep)])
def test_a_loop_that_goes_on_does_not_feed_on_itself(pattern: str, lookahead: int) -> None:
    """What is heard again and again is found again, fills of it among it."""
    rate, n, seconds = 16_000, 320, 300 if is_deep() else 16
    loop = bundled("music", rate, rate)
    packets = np.resize(loop, seconds * rate).reshape(-1, n, 1)
    lost = regular_trace(pattern, len(packets))
    lost[0] = False
    loudness = Loudness(rate, n)
    concealer = plc.Concealer(rate, 1, n, lookahead, budget_ms=math.inf)
    excess_db = np.full(len(packets), -np.inf)
    for k, packet in enumerate(packets):
        loudness.receive(None if lost[k] else packet)
        out = concealer.push(None if lost[k] else packet)
        if k >= lookahead and lost[k - lookahead]:
            excess_db[k] = loudness.excess_db(out.astype(np.float32, copy=False))
    concealer.close()
    assert excess_db.max() <= LOUDEST_FILL_DB
    # Nor does it grow from one round to the next, once the first ones have been heard.
    rounds = np.array_split(excess_db, 4)
    _, early_db, _, late_db = (np.median(each[np.isfinite(each)]) for each in rounds)
    assert late_db <= early_db + 1.0


@pytest.mark.parametrize("command", ["conceal", "inpaint"])
@pytest.mark.parametrize("pattern", ["011", "01"])
def test_files_with_regular_losses_are_no_louder_for_them(
    tmp_path: Path, command: str, pattern: str
) -> None:
    """Two channels of a loop, the second silent, in whole numbers."""
    rate, n, seconds = 16_000, 320, {"conceal": 16, "inpaint": 2}[command]
    seconds *= 20 if is_deep() else 1
    loop = bundled("music", rate, rate)
    signal = np.zeros((seconds * rate, 2), np.float32)
    signal[:, 0] = np.resize(loop, seconds * rate)
    lost = regular_trace(pattern, len(signal) // n)
    lost[0] = False
    received = signal * ~np.repeat(lost, n)[:, None]
    source, target, trace = tmp_path / "in.wav", tmp_path / "out.wav", tmp_path / "trace.txt"
    soundfile.write(source, received, rate, subtype="PCM_16")
    trace.write_text("\n".join(str(int(each)) for each in lost) + "\n")
    arguments = [command, str(source), str(target), "--trace", str(trace), "--packet-ms", "20"]
    ran(app, *arguments)
    filled, _ = soundfile.read(target, dtype="float32", always_2d=True)
    assert filled.shape == signal.shape
    assert np.abs(filled[:, 1]).max() <= 1e-3
    # A rounding, and what leads out of a fill, aside, what was received is as it was.
    loudness = Loudness(rate, n)
    known = received.reshape(-1, n, 2)
    worst_db = -math.inf
    for k, packet in enumerate(known):
        if not lost[k]:
            loudness.receive(packet)
    for k, packet in enumerate(filled.reshape(-1, n, 2)):
        if lost[k]:
            worst_db = max(worst_db, loudness.excess_db(packet))
    assert worst_db <= LOUDEST_FILL_DB


@examples(100, few=2)
@given(
    content=st.sampled_from(tuple(CONTENTS)),
    sample_rate=st.sampled_from([8000, 16_000, 32_000, 44_100, 48_000, 96_000]),
    packet_ms=st.sampled_from([1.0, 1.33, 2.5, 5.0, 10.0, 13.4, 20.0, 60.0, 120.0]),
    losses=st.one_of(
        st.sampled_from(REGULAR),
        st.tuples(st.floats(0.1, 0.95), st.integers(0, 1000)),
    ),
    lookahead=st.integers(0, 2),
    seconds=st.just(SOUND_S),
)
@example("music", 8000, 60.0, (0.5, 23), 0, 2.5)
@example("music", 48_000, 1.33, (0.8860203650100661, 0), 0, 2.5)
@example("speech", 48_000, 1.33, "011", 0, 2.5)
@example("music", 48_000, 10.0, "0111", 0, 2.0)
@example("music", 48_000, 10.0, "0011", 0, 2.0)
def test_no_losses_make_a_fill_louder_than_what_was_received(
    content: str,
    sample_rate: int,
    packet_ms: float,
    losses: str | tuple[float, int],
    lookahead: int,
    seconds: float,
) -> None:
    def trace(packets: int) -> NDArray[np.bool_]:
        if isinstance(losses, str):
            return regular_trace(losses, packets)
        return random_trace(losses[0], packets, losses[1])

    packet_samples = round(sample_rate * packet_ms / 1000.0)
    excess_db, ghost_db = attack(
        content, sample_rate, packet_samples, trace, lookahead, seconds=seconds
    )
    assert excess_db <= LOUDEST_FILL_DB
    assert ghost_db <= GHOST_DB
