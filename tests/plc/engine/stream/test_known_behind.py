"""What is known behind a lost packet: it never makes it worse, is checked, and can be prepared."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plc import Concealer, ConcealerPool, PacketError
from plc.engine.loss import GilbertElliott
from tests.signals import tones, voice

RATE = 16_000


def error_db(
    signal: NDArray[np.float32], trace: NDArray[np.bool_], known: int, **settings: Any
) -> float:
    """Return the error of lost packets where so many packets behind each are known."""
    concealer = Concealer(budget_ms=math.inf, prepare="never", **settings)
    n = concealer.config.packet_samples
    packets = signal[: trace.size * n].reshape(trace.size, n, 1)
    error = power = 0.0
    for k, packet in enumerate(packets):
        if not trace[k]:
            concealer.push(packet)
            continue
        ahead = range(k + 1, min(k + 1 + known, trace.size))
        behind = [((j - k - 1) * n, packets[j]) for j in ahead if not trace[j]]
        made = concealer.push(None, behind=behind)
        error += float(np.sum((made - packet) ** 2))
        power += float(np.sum(packet**2))
    return 10.0 * math.log10(error / power)


@pytest.mark.parametrize("packet_ms", [1, 2, 4, 5, 10, 20, 40, 60])
@pytest.mark.parametrize(
    ("rate", "content"), [(16_000, "speech"), (48_000, "music"), (8_000, "speech")]
)
def test_knowing_more_is_never_worse(packet_ms: int, rate: int, content: str) -> None:
    settings: dict[str, Any] = {"sample_rate": rate, "packet_ms": packet_ms, "model": "ar"}
    errors = np.zeros(4)
    for seed in range(4):
        sound = tones(seed, rate, 6 * rate)
        if content == "speech":
            sound = voice(rate, 6.0, 110.0 + 30.0 * seed, 0.8, seed)[: 6 * rate]
        trace = GilbertElliott(0.1, 1.5).trace(6000 // packet_ms, seed)
        trace[: 500 // packet_ms] = False
        errors += [
            error_db(np.asarray(sound, np.float32), trace, known, content=content, **settings)
            for known in (0, 1, 2, 4)
        ]
    errors /= 4
    # Of a voice that falls, the second packet behind a hole tells less than the first.
    assert np.all(errors[1:] < errors[0] + 0.25), errors
    assert np.all(np.diff(errors) < 0.5), errors


@pytest.mark.parametrize(
    "behind",
    [
        [(0, np.full((160, 1), np.nan, np.float32))],
        [(0, np.full((160, 1), 2e6, np.float32))],
        [(0, np.zeros((160, 2), np.float32))],
        [(-1, np.zeros((160, 1), np.float32))],
        [(RATE + 1, np.zeros((160, 1), np.float32))],
        [(0.5, np.zeros((160, 1), np.float32))],
        [(0, "sound")],
        np.zeros((160, 1), np.float32),
        [3],
        5,
    ],
)
def test_what_is_not_known_sound_is_refused_and_changes_nothing(behind: Any) -> None:
    streams = [Concealer(RATE, 1, 160, model="ar", prepare="never") for _ in range(2)]
    signal = tones(1, RATE, 3200).reshape(20, 160, 1)
    for packet in signal:
        for stream in streams:
            stream.push(packet)
    with pytest.raises(PacketError):
        streams[0].push(None, behind=behind)
    pool = ConcealerPool()
    ids = pool.open(1, sample_rate=RATE, packet_samples=160)
    with pytest.raises(PacketError):
        pool.push(ids, signal[:1], np.array([False]), behind={0: behind})
    with pytest.raises(PacketError):
        pool.push(ids, signal[:1], np.array([False]), behind={1: []})
    assert streams[0].stats.packets == 20
    first, second = (stream.push(None) for stream in streams)
    np.testing.assert_array_equal(first, second)


def test_known_packets_are_pushed_in_their_turn_and_played_as_they_are() -> None:
    stream = Concealer(RATE, 1, 160, model="ar", prepare="never")
    signal = tones(1, RATE, 4800).reshape(30, 160, 1)
    played = [stream.push(packet) for packet in signal[:20]]
    played.append(stream.push(None, behind=[(0, signal[21]), (160, signal[22])]))
    played += [stream.push(packet) for packet in signal[21:]]
    assert stream.stats.bridged_samples == stream.stats.concealed_samples == 160
    np.testing.assert_array_equal(np.delete(played, 20, 0), np.delete(signal, 20, 0))


def test_integers_and_what_is_far_behind_are_taken() -> None:
    streams = [Concealer(RATE, 2, 160, model="ar", prepare="never") for _ in range(2)]
    signal = np.stack([tones(c, RATE, 4800) for c in range(2)], 1).reshape(30, 160, 2)
    whole = np.rint(20_000 * signal).astype(np.int16)
    for packet in whole[:20]:
        for stream in streams:
            stream.push(packet)
    near = [(0, whole[21]), (160, whole[22])]
    far = [(RATE, whole[25]), (0, whole[21:24].reshape(-1, 2)), *near]
    first = streams[0].push(None, behind=near)
    assert first.dtype == np.int16
    assert streams[1].push(None, behind=far).shape == first.shape
    assert all(stream.stats.bridged_samples == 160 for stream in streams)


@pytest.mark.parametrize("model", ["auto", "ar"])
def test_a_hole_whose_end_becomes_known_in_its_middle_goes_on_smoothly(model: str) -> None:
    sound = np.asarray(voice(RATE, 3.0, 150.0, 0.8, 1), np.float32)
    packets = sound[: 150 * 320].reshape(150, 320, 1)
    stream = Concealer(RATE, 1, 320, model=model, content="speech", budget_ms=math.inf)
    played = [stream.push(packet) for packet in packets[:100]]
    played.append(stream.push(None))
    played.append(stream.push(None, behind=[(0, packets[102])]))
    played += [stream.push(packet) for packet in packets[102:110]]
    stream.close()
    assert stream.stats.bridged_samples == 320
    heard = np.concatenate(played)[99 * 320 :, 0]
    natural = float(np.abs(np.diff(sound, 2)).max())
    assert np.abs(np.diff(heard, 2)).max() < 1.5 * natural


@pytest.mark.parametrize(("rate", "packet"), [(16_000, 320), (8_000, 160), (48_000, 480)])
def test_a_prepared_bridge_has_the_same_samples(rate: int, packet: int) -> None:
    """Where the hole and what is behind it are known with the packet before it."""
    settings: dict[str, Any] = {"sample_rate": rate, "packet_samples": packet, "content": "speech"}
    sound = np.asarray(voice(rate, 3.0, 150.0, 0.8, 1), np.float32)
    packets = sound[: len(sound) // packet * packet].reshape(-1, 1, packet, 1)
    trace = GilbertElliott(0.2, 1.5).trace(len(packets), 3)
    trace[: 500 * rate // (1000 * packet)] = False
    played: list[list[Any]] = [[], []]
    ready = 0
    for prepares, out in enumerate(played):
        pool = ConcealerPool()
        ids = pool.open(1, **settings)
        for k in range(len(packets) - 20):
            end = k + 1 + int(np.argmin(trace[k + 1 :]))
            is_hole = trace[k] or end > k + 1
            behind = {0: [((end - k - 1) * packet, packets[end, 0])]} if is_hole else {}
            out.append(pool.push(ids, packets[k], ~trace[k : k + 1], behind=behind).copy())
            if prepares:
                pool.prepare(1000.0)
        stats = pool.stats(ids)[0]
        assert stats.bridged_samples > 0
        ready = stats.ahead.concealed_prepared
    assert ready > 10
    np.testing.assert_array_equal(played[0], played[1])


@pytest.mark.parametrize("lookahead", [0, 1])
def test_what_is_known_stays_known_until_its_turn_or_until_others_are_handed_over(
    lookahead: int,
) -> None:
    settings: dict[str, Any] = {"lookahead": lookahead, "model": "ar", "prepare": "never"}
    once, each, none, never = (Concealer(RATE, 1, 160, **settings) for _ in range(4))
    signal = tones(1, RATE, 4800).reshape(30, 160, 1)
    for k in range(20):
        for stream in (each, none, never):
            stream.push(signal[k])
        # Behind packet 19 two are lost, and two are known.
        known = [(320, signal[22]), (480, signal[23])] if k == 19 else None
        once.push(signal[k], behind=known)
    for first in (160, 0):
        made = once.push(None)
        behind = [(first, signal[22]), (first + 160, signal[23])]
        np.testing.assert_array_equal(made, each.push(None, behind=behind))
        np.testing.assert_array_equal(none.push(None, behind=[]), never.push(None))
    for stream in (once, each, none, never):
        for k in (22, 23, 24):
            stream.push(signal[k])
    assert once.stats.bridged_samples == each.stats.bridged_samples == 320
    assert none.stats.bridged_samples == never.stats.bridged_samples < 320
    before = once.stats.bridged_samples
    once.push(signal[25], behind=[(160, signal[27])])
    once.push(None, behind=[])
    if not lookahead:
        assert once.stats.bridged_samples == before
