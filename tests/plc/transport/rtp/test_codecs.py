"""Payloads to samples and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plc.errors import ConfigError
from plc.transport.rtp.codecs import CODECS, G711, L16, L24, Opus, open_codec
from plc.transport.rtp.libopus import opus_samples
from tests.examples import examples
from tests.signals import noise, sine


@pytest.mark.parametrize("kind", [L16, L24])
@given(st.binary(min_size=0, max_size=200), st.integers(1, 3))
def test_linear_samples_pass_bit_for_bit(
    kind: type[L16] | type[L24], payload: bytes, channels: int
) -> None:
    codec = kind(48_000, channels)
    width = {L16: 2, L24: 3}[kind]
    n = len(payload) // (width * channels)
    assert codec.samples(payload) == n
    samples = codec.decode(payload)
    if n == 0:
        assert samples is None
        return
    assert samples is not None
    assert samples.shape == (n, channels)
    assert samples.dtype == np.float32
    assert codec.encode(samples) == payload[: n * width * channels]


@pytest.mark.parametrize(
    ("kind", "sent", "loudest"),
    [(L16, "4000 8000 ffff", "7fff 8000"), (L24, "400000 800000 ffffff", "7fffff 800000")],
)
def test_samples_of_linear_pcm_are_big_endian_and_clipped(
    kind: type[L16 | L24], sent: str, loudest: str
) -> None:
    codec = kind(48_000, 1)
    samples = codec.decode(bytes.fromhex(sent))
    assert samples is not None
    least = 2.0**-15 if kind is L16 else 2.0**-23
    assert samples.ravel().tolist() == [0.5, -1.0, -least]
    loud = np.array([[2.0], [-2.0]], np.float32)
    assert codec.encode(loud) == bytes.fromhex(loudest)


def test_l16_rounds_samples_and_rows_alike() -> None:
    samples = (noise(5, 960) * 0.7).reshape(480, 2)
    samples[:4, 0] = np.array([0.5, 1.5, 2.5, -0.5]) / 32768
    rounded = np.rint(samples * np.float32(32768.0)).clip(-32768, 32767).astype(">i2")
    codec = L16(48_000, 2)
    assert codec.encode(samples) == rounded.tobytes()
    assert codec.encode(np.ascontiguousarray(samples.T).T) == rounded.tobytes()


def test_static_payload_types_are_those_of_the_profile() -> None:
    # RFC 3551, table 4.
    assert L16(44_100, 2).payload_type == 10
    assert L16(44_100, 1).payload_type == 11
    assert G711("pcmu").payload_type == 0
    assert G711("pcma").payload_type == 8
    assert L16(48_000, 1).payload_type == 96


# Values of G.711's tables: the code words for zero, the least and the largest magnitudes.
@pytest.mark.parametrize(
    ("law", "code", "value"),
    [
        ("pcmu", 0xFF, 0),
        ("pcmu", 0xFE, 8),
        ("pcmu", 0x7E, -8),
        ("pcmu", 0x80, 32_124),
        ("pcmu", 0x00, -32_124),
        ("pcmu", 0xF0, 120),
        ("pcmu", 0xEF, 132),
        ("pcma", 0xD5, 8),
        ("pcma", 0x55, -8),
        ("pcma", 0xAA, 32_256),
        ("pcma", 0x2A, -32_256),
        ("pcma", 0xC5, 264),
    ],
)
def test_g711_decodes_as_the_tables_have_it(law: str, code: int, value: int) -> None:
    samples = G711(law).decode(bytes([code]))
    assert samples is not None
    assert samples[0, 0] * 32768 == value


@pytest.mark.parametrize("law", ["pcmu", "pcma"])
def test_g711_passes_what_it_decoded_through(law: str) -> None:
    codec = G711(law)
    samples = codec.decode(bytes(range(256)))
    assert samples is not None
    again = codec.decode(codec.encode(samples))
    np.testing.assert_array_equal(again, samples)


@pytest.mark.parametrize("law", ["pcmu", "pcma"])
def test_g711_codes_each_value_as_the_nearest_one(law: str) -> None:
    codec = G711(law)
    levels = codec.decode(bytes(range(256)))
    assert levels is not None
    values = (np.arange(-32768, 32768, 7)[:, None] / 32768).astype(np.float32)
    coded = codec.decode(codec.encode(values))
    assert coded is not None
    nearest = np.abs(levels.ravel()[None, :] - values).min(axis=1)
    np.testing.assert_array_equal(np.abs(coded - values).ravel(), nearest)


def test_g711_keeps_speech_38_db_above_its_noise() -> None:
    signal = noise(1, 8000, 0.3)[:, None]
    for law in ("pcmu", "pcma"):
        codec = G711(law)
        decoded = codec.decode(codec.encode(signal))
        assert decoded is not None
        clipped = np.clip(signal, -0.98, 0.98)
        assert 10 * np.log10(np.mean(signal**2) / np.mean((decoded - clipped) ** 2)) > 36


@pytest.mark.parametrize(
    ("first_bytes", "samples"),
    [
        (b"\x00", 480),  # SILK 10 ms
        (b"\x18", 2880),  # SILK 60 ms
        (b"\x60", 480),  # hybrid 10 ms
        (b"\x78\x00", 960),  # hybrid 20 ms, one frame
        (b"\x80", 120),  # CELT 2.5 ms
        (b"\xf8", 960),  # CELT 20 ms
        (b"\xf9", 1920),  # two frames
        (b"\xfb\x03", 2880),  # three frames, by count
        (b"\xfb\x07", 0),  # 140 ms: too long
        (b"\xfb", 0),  # count is cut off
        (b"", 0),
    ],
)
def test_the_length_of_an_opus_packet_is_read_from_its_head(
    first_bytes: bytes, samples: int
) -> None:
    assert opus_samples(first_bytes) == samples


@pytest.mark.parametrize("channels", [1, 2])
def test_opus_carries_a_tone(channels: int) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    codec, other = Opus(channels), Opus(channels)
    signal = np.repeat(sine(440, 48_000, 48_000)[:, None], channels, axis=1)
    decoded = []
    for begin in range(0, 48_000, 960):
        payload = codec.encode(signal[begin : begin + 960])
        assert other.samples(payload) == 960
        samples = other.decode(payload)
        assert samples is not None
        assert samples.shape == (960, channels)
        decoded.append(samples)
    out = np.concatenate(decoded)[9600:, 0]
    spectrum = np.abs(np.fft.rfft(out * np.hanning(out.size)))
    assert np.argmax(spectrum) * 48_000 / out.size == pytest.approx(440, abs=2)
    assert np.std(out) == pytest.approx(0.5 / np.sqrt(2), rel=0.03)


@examples(100)
@given(st.binary(max_size=100))
def test_any_bytes_are_no_trouble_to_a_decoder(payload: bytes) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    for name in CODECS:
        codec = open_codec(name, 16_000 if name == "g722" else 48_000, 1)
        samples = codec.decode(payload)
        if samples is not None:
            assert samples.shape == (codec.samples(payload), 1)
            assert np.isfinite(samples).all()


def test_what_there_is_no_codec_for_is_refused() -> None:
    with pytest.raises(ConfigError, match="l16, l24, pcmu, pcma, g722, opus"):
        open_codec("mp3", 48_000, 2)
    with pytest.raises(ConfigError, match="channels is 0"):
        open_codec("l16", 48_000, 0)
    with pytest.raises(ConfigError, match="48000"):
        open_codec("opus", 16_000, 1)
