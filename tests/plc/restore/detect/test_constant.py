from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import plc
from plc import detect, inpaint
from plc.engine.stream.samples import Packet
from plc.restore.detect import constant
from plc.restore.detect.findings import Finding
from plc.transport.rtp.codecs import G711
from plc_bench.base.corpus import read_clip
from tests.examples import some
from tests.signals import glide, noise, sine, tones

RATE = 8000
PACKET = 160
SPEECH = Path(plc.__file__).parent / "data" / "speech.flac"


@pytest.fixture(scope="module")
def speech() -> NDArray[np.float32]:
    pytest.importorskip("soxr")
    x = read_clip(SPEECH, RATE).signal.mean(axis=1).astype(np.float32)
    return np.asarray(x * (0.5 / np.abs(x).max()), np.float32)


def recorded(
    x: NDArray[np.float32], law: str, share: float, byte: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Return what G.711 makes of ``x``, with ``byte`` for lost packets, and which are lost."""
    codec = G711(law)
    packets = np.frombuffer(codec.encode(x[: x.size // PACKET * PACKET, None]), np.uint8)
    packets = packets.copy().reshape(-1, PACKET)
    sound = codec.decode(packets.tobytes())
    lost = np.random.default_rng(1).random(len(packets)) < share
    packets[lost] = byte
    damaged = codec.decode(packets.tobytes())
    assert sound is not None
    assert damaged is not None
    return sound[:, 0], damaged[:, 0], np.repeat(lost, PACKET)


def marked(findings: list[Finding], samples: int) -> NDArray[np.bool_]:
    marks = np.zeros(samples, np.bool_)
    for each in findings:
        marks[each.start : each.stop] = True
    return marks


def snr_db(x: Packet, sound: NDArray[np.float32]) -> float:
    return float(10 * np.log10(np.sum(sound**2) / np.sum((x - sound) ** 2)))


@some("share", [0.1, 0.05])
@pytest.mark.parametrize("law", ["pcmu", "pcma"])
def test_packets_of_zero_bytes_are_found_and_filled_as_well_as_silent_ones(
    speech: NDArray[np.float32], law: str, share: float
) -> None:
    sound, damaged, lost = recorded(speech, law, share)
    silent = np.where(lost, np.float32(0.0), sound)
    findings = detect(damaged, sample_rate=RATE)
    found = marked(findings, lost.size)
    assert found[lost].mean() > 0.99
    assert np.count_nonzero(found & ~lost) < 0.02 * RATE
    assert {each.kind for each in findings} <= {"silence", "dropout"}
    filled = inpaint(damaged, [(each.start, each.stop) for each in findings], sample_rate=RATE)
    assert snr_db(filled, sound) > snr_db(damaged, sound) + 9.0
    assert snr_db(filled, sound) > snr_db(silent, sound) + 6.0


@some("level", [-0.98, 0.4, 0.7])
def test_a_constant_of_any_level_is_a_hole(level: float) -> None:
    x = glide(3, 44_100, 88_200)
    x[60_000:60_882] = level
    told = [(each.start, each.stop, each.kind) for each in detect(x, sample_rate=44_100)]
    assert told == [(60_000, 60_882, "silence")]


@some("seed", [1, 2, 3])
def test_short_runs_of_zeros_on_a_grid_are_found(speech: NDArray[np.float32], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = (np.rint(speech * 32768) / 32768).astype(np.float32)
    level = np.sqrt(np.convolve(x**2, np.ones(64) / 64, "same"))
    frames = [k for k in range(5, x.size // 160 - 5) if level[160 * k + 40 :][:30].min() > 0.0056]
    places = []
    for k in sorted(rng.choice(frames, 31, replace=False)):
        places.append((160 * int(k) + 48, 160 * int(k) + 48 + int(rng.integers(5, 16))))
        x[slice(*places[-1])] = 0.0
    findings = detect(x, sample_rate=RATE)
    hits = [any(f.start <= a and b <= f.stop for f in findings) for a, b in places]
    assert sum(hits) >= 29
    assert all(any(f.start < b and a < f.stop for a, b in places) for f in findings)


def test_a_short_run_is_found_by_its_grid_where_it_is_quiet() -> None:
    x = glide(4, RATE, 2 * RATE)
    x[RATE:] *= np.linspace(1.0, 0.03, RATE)
    places = list(range(400, x.size - 400, 160))
    for place in places:
        x[place : place + 4 + place % 3] = 0.0
    starts = {each.start for each in detect(x, sample_rate=RATE)}
    assert len(starts & set(places)) > 0.9 * len(places)


def undamaged(rate: int) -> dict[str, NDArray[np.float64]]:
    """Return recordings with runs of equal samples that belong to them."""
    n = 3 * rate
    t = np.arange(n) / rate
    x = 0.5 * (tones(1, rate, n) + glide(2, rate, n)).astype(np.float64) / 0.3
    square = np.sign(sine(50.0, rate, n, 1.0) + 1e-9)
    return {
        "clipped": np.clip(6 * x, -0.98, 0.98),
        "clipped hard": np.clip(100 * x, -0.98, 0.98),
        "clipped on one side": np.clip(20 * x, -0.3, 0.98),
        "with an offset, clipped": np.clip(3 * x + 0.3, -1.0, 0.98),
        "with an offset": x + 0.2,
        "8 bits": np.rint(x * 128) / 128,
        "5 bits": np.rint(x * 16) / 16,
        "square": 0.4 * square,
        "two squares": 0.2 * square + 0.2 * np.sign(np.sin(2 * np.pi * 80.3 * t + 0.1)),
        "square in turn with sound": np.where(t % 1.0 < 0.5, 0.4 * square, x),
        "steps": np.repeat(np.random.default_rng(3).uniform(-0.5, 0.5, 300), n // 300),
        "steps with noise": 0.1 * np.sign(np.sin(18.0 * t)) + noise(4, n, 0.02),
        "held": np.repeat(x[::40], 40)[:n],
        "pulses": 0.4 * (t * 220 % 1 < 0.1) - 0.3 * (t * 331 % 1 < 0.2),
        "impulses": 0.4 * (np.arange(n) % 400 < 3),
        "pauses": x * (t % 0.8 < 0.5),
        "digital silence": np.zeros(n),
        "dead zone": np.where(np.abs(x) > 0.03, x, 0.0),
        "soft dead zone": np.sign(x) * np.maximum(np.abs(x) - 0.03, 0.0),
        "distorted drum": np.clip(50 * np.sin(314.0 * t) * np.exp(-15 * (t % 0.5)) + x, -0.9, 0.9),
    }


@some("rate", [8_000, 44_100])
def test_constant_runs_that_belong_to_a_recording_are_no_damage(rate: int) -> None:
    for kind, signal in undamaged(rate).items():
        x = (np.rint(signal * 32767) / 32768).astype(np.float32)
        assert constant.find(x, rate) == [], kind


@some("rate, frame_ms", [(176_400, 0.125), (48_000, 0.125), (44_100, 1.0), (96_000, 0.125)], 2)
@pytest.mark.parametrize("wrong", [(True, True), (True, False), (False, True), (False, False)])
def test_wrong_samples_beside_a_run_of_zeros_are_filled_with_it(
    rate: int, frame_ms: float, wrong: tuple[bool, bool]
) -> None:
    rng = np.random.default_rng(1)
    sound = np.stack([tones(seed, rate, 3 * rate, 0.2) for seed in (1, 2)], axis=1)
    damaged, frame = sound.copy(), frame_ms * rate / 1000
    places = []
    for at in (0.61, 1.33, 1.87, 2.4):
        edges = [round(at * rate + k * frame) for k in range(6)]
        damaged[edges[1] : edges[4]] = 0.0
        for is_wrong, (start, stop) in zip(wrong, (edges[:2], edges[4:]), strict=True):
            if is_wrong:
                damaged[start:stop] = 0.3 * rng.standard_normal((stop - start, 2))
        places.append((edges[not wrong[0]], edges[5 if wrong[1] else 4]))
    found = [each for each in detect(damaged, sample_rate=rate) if not each.doubt]
    assert [each.kind for each in found] == 4 * ["silence"]
    for each, (start, stop) in zip(found, places, strict=True):
        assert start - 4 <= each.start <= start
        assert stop <= each.stop <= stop + 4
    filled = inpaint(damaged, [each.gaps[0] for each in found], sample_rate=rate, model="ar")
    lost = marked(found, len(sound))
    assert snr_db(np.asarray(filled, np.float32)[lost], sound[lost]) > 10.0
