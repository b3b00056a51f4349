"""What is prepared before a loss is what a stream without a time limit would play."""

import math
import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plc import Concealer
from plc.audio.loss import GilbertElliott
from plc.networks.ahead import AheadFiller
from tests.signals import tones, voice

PATIENCE_S = 60.0
Trace = NDArray[np.bool_]


def _ahead(concealer: Concealer) -> AheadFiller:
    filler = concealer._filler
    assert isinstance(filler, AheadFiller)
    return filler


def _settle(concealer: Concealer) -> None:
    """Wait until all that was asked for is prepared."""
    end_s = time.monotonic() + PATIENCE_S
    while not _ahead(concealer).settled:
        assert time.monotonic() < end_s, "nothing was prepared"
        time.sleep(1e-4)


def _play(
    concealer: Concealer, signal: NDArray[np.float32], trace: Trace, wait: bool = True
) -> NDArray[Any]:
    packets = signal.reshape(trace.size, -1, concealer.config.channels)
    out = []
    for lost, packet in zip(trace, packets, strict=True):
        out.append(concealer.push(None if lost else packet))
        if wait:
            _settle(concealer)
    return np.concatenate(out)


def _voice(seed: int, rate: int, samples: int) -> NDArray[np.float32]:
    return np.resize(voice(rate, samples / rate, 140.0, 0.3, seed), samples)


@pytest.mark.parametrize(
    ("rate", "packet", "channels", "method", "make"),
    [
        (48_000, 480, 1, "ar", tones),
        (48_000, 480, 1, "auto", tones),
        (48_000, 960, 2, "auto", tones),
        (48_000, 64, 1, "ar", tones),
        (16_000, 160, 1, "auto", _voice),
        (16_000, 320, 1, "auto", tones),
        (8_000, 160, 1, "auto", _voice),
        (16_000, 1600, 1, "auto", tones),
    ],
)
def test_with_time_it_plays_what_a_stream_without_a_limit_does(
    rate: int, packet: int, channels: int, method: str, make: Any
) -> None:
    if method == "auto":
        pytest.importorskip("onnxruntime")
    packets = rate // packet + 30
    signal = make(7, rate, packets * packet).astype(np.float32)
    signal = np.ascontiguousarray(np.stack([signal, 0.5 * signal[::-1]][:channels], axis=1))
    trace = GilbertElliott(0.15, 2.0).trace(packets, 5)
    trace[-30:-5] |= packet < 1600
    settings: dict[str, Any] = {
        "sample_rate": rate,
        "channels": channels,
        "packet_samples": packet,
        "method": method,
    }
    unlimited = Concealer(**settings, budget_ms=math.inf)
    prepared = Concealer(**settings, prepare="always")
    try:
        expected = _play(unlimited, signal, trace, wait=False)
        found = _play(prepared, signal, trace)
    finally:
        prepared.close()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    ahead = prepared.stats.ahead
    assert ahead.concealed_stale == 0
    assert ahead.concealed_prepared > 0
    assert ahead.concealed_unprepared <= 1  # before anything was received
    assert prepared.stats.rung_samples == unlimited.stats.rung_samples
