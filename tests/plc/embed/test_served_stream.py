"""A stream for other languages: one format, the caller's memory, flags."""

import math

import numpy as np
import pytest

from plc import conceal
from plc.embed.served_stream import EmbeddedStream, Flag, Format
from plc.errors import ConfigError
from tests.plc.configs import changed, embedded
from tests.signals import tones

RATE = 16_000
BLOCK = 160
SETTINGS = embedded(sample_rate=RATE, packet_samples=BLOCK, model="ar", budget_ms=math.inf)


@pytest.mark.parametrize("lookahead", [0, 2])
@pytest.mark.parametrize("format_", Format)
def test_a_stream_gives_what_the_engine_gives(format_: Format, lookahead: int) -> None:
    signal = tones(1, RATE, 30 * BLOCK)[:, None]
    if format_ is Format.INT16:
        signal = np.rint(signal * 32767).astype(np.int16)
    lost = np.random.default_rng(2).random(30) < 0.3
    lost[0] = True  # before the format can be seen from a packet
    stream = EmbeddedStream(changed(SETTINGS, format=format_, lookahead=lookahead))
    played = np.zeros(((30 + lookahead) * BLOCK, 1), format_.dtype)
    for k, packet in enumerate(signal.reshape(30, BLOCK, 1)):
        out = played[k * BLOCK : (k + 1) * BLOCK]
        stream.push(None if lost[k] else packet, out)
    stream.flush(played[30 * BLOCK :])
    expected = conceal(
        signal, lost, sample_rate=RATE, packet_samples=BLOCK, lookahead=lookahead, model="ar"
    )
    assert np.array_equal(played[lookahead * BLOCK :], expected)


def test_a_packet_may_be_written_over() -> None:
    packets = tones(1, RATE, 6 * BLOCK).reshape(6, BLOCK, 1)
    apart, within = EmbeddedStream(SETTINGS), EmbeddedStream(SETTINGS)
    out = np.empty((BLOCK, 1), np.float32)
    for k, packet in enumerate(packets):
        flags = apart.push(None if k == 3 else packet, out)
        memory = packet.copy()
        assert within.push(None if k == 3 else memory, memory) == flags
        assert np.array_equal(memory, out)


def test_flags_tell_concealed_from_crossfaded_and_refused() -> None:
    stream = EmbeddedStream(SETTINGS)
    packet = tones(1, RATE, BLOCK)[:, None]
    broken = np.full_like(packet, np.inf)
    out = np.empty_like(packet)
    flags = [stream.push(given, out) for given in (packet, None, packet, packet, broken)]
    assert flags == [0, Flag.CONCEALED, Flag.CROSSFADED, 0, Flag.CONCEALED | Flag.REFUSED]


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"format is 3; give 1 \(float32\) or 2 \(int16\)"):
        EmbeddedStream(changed(SETTINGS, format=3))
