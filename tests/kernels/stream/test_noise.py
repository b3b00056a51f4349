"""Noise filling in streams: tests/kernels/signal/test_noise_filling.py has that of one channel."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

import plc
from plc_kernels.stream import layout
from tests.kernels.stream.blocks import Stream, settings_of
from tests.signals import noise, sine

RATE, PACKET = 48_000, 480
BANDS_HZ = ((2000, 4000), (4000, 8000), (8000, 12_000), (12_000, 20_000))

Signal = NDArray[np.float32]


def bursts(packets: int, length: int) -> NDArray[np.bool_]:
    """Return which packets are lost: so many in every half second from the second one on."""
    at = np.arange(packets)
    return (at >= 50) & (at % 50 < length)


def play(signal: Signal, lost: NDArray[np.bool_], filling: bool = True) -> Signal:
    """Return what a stream of linear prediction plays of a signal, shape (n,) or (n, channels)."""
    rows = signal.reshape(-1, PACKET, 1 if signal.ndim == 1 else signal.shape[1])
    stream = Stream(settings_of(RATE, rows.shape[2], PACKET))
    stream.block[layout.FILLS_NOISE] &= filling
    played = [
        stream.push(None if gone else packet) for gone, packet in zip(lost, rows, strict=True)
    ]
    return np.concatenate(played).reshape(signal.shape)


def levels_db(signal: Signal, low_hz: float, high_hz: float) -> NDArray[np.float64]:
    """Return the levels of a band by packet of half seconds, shape (50,): means of all but one."""
    band = sosfilt(butter(4, (low_hz, high_hz), "band", fs=RATE, output="sos"), signal)
    powers = np.mean(band.reshape(-1, 50, PACKET)[1:] ** 2, axis=(0, 2))
    return np.asarray(10 * np.log10(powers))


@pytest.mark.parametrize("method", ["ar", "auto"])
def test_bands_of_noise_under_a_tone_keep_their_level_until_the_fade(method: Any) -> None:
    samples = 6 * RATE
    signal = noise(1, samples, 0.03) + sine(700.0, RATE, samples, 0.2)
    lost = bursts(samples // PACKET, 6)
    played = plc.conceal(
        signal, lost, sample_rate=RATE, packet_samples=PACKET, method=method, budget_ms=float("inf")
    )
    for band in BANDS_HZ:
        levels = levels_db(np.asarray(played, np.float32), *band)
        assert np.abs(levels[4:6] - levels[-20:].mean()).max() < 3.0
        assert abs(levels[3] - levels[-20:].mean()) < 5.0


def test_without_it_they_do_not() -> None:
    signal = noise(2, 6 * RATE, 0.03)
    played = play(signal, bursts(600, 6), filling=False)
    for band in BANDS_HZ:
        levels = levels_db(played, *band)
        assert levels[5] < levels[-20:].mean() - 6.0


def test_a_tone_gets_none() -> None:
    signal, lost = sine(3000.0, RATE, 2 * RATE), bursts(200, 6)
    added = play(signal, lost) - play(signal, lost, filling=False)
    assert np.abs(added).max() < 1e-4


@pytest.mark.parametrize("lost_after", [1, 3, 10, 30])
def test_silence_gets_none(lost_after: int) -> None:
    signal = noise(3, 2 * RATE)
    signal[RATE:] = 0.0
    lost = np.zeros(200, bool)
    lost[100 + lost_after : 106 + lost_after] = True
    added = play(signal, lost) - play(signal, lost, filling=False)
    assert not added.any()


@pytest.mark.parametrize("word", [layout.UNSTEADY, layout.SPEECH])
def test_speech_and_what_changes_as_fast_gets_none(word: int) -> None:
    streams = [Stream(settings_of(RATE, 1, PACKET)) for _ in range(2)]
    streams[1].block[layout.FILLS_NOISE] = 0
    for packet in noise(4, RATE).reshape(-1, PACKET):
        for stream in streams:
            stream.push(packet)
    for _ in range(3):
        played = [stream.push(None) for stream in streams]
        for stream in streams:
            stream.block[word] = 1  # as at the beginning of a burst of speech
    np.testing.assert_array_equal(played[0], played[1])


def test_short_bursts_and_what_is_received_are_as_without() -> None:
    signal, lost = noise(5, 3 * RATE), bursts(300, 1)
    np.testing.assert_array_equal(play(signal, lost), play(signal, lost, filling=False))
    lost = bursts(300, 6)
    kept = ~np.repeat(lost, PACKET)
    behind = np.flatnonzero(np.diff(lost.astype(int)) < 0) + 1
    for packet in behind:  # begins in a crossfade
        kept[packet * PACKET : packet * PACKET + RATE // 400] = False
    np.testing.assert_array_equal(play(signal, lost)[kept], signal[kept])
