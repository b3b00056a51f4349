"""Opus packets that repeat the ones before them."""

from importlib.resources import files
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc.transport.rtp.codecs import Opus
from plc.transport.rtp.delay import DelayConfig, DelayMode
from plc.transport.rtp.libopus import LibopusDecoder, repeated_samples
from plc.transport.rtp.packets import RtpPacket
from plc.transport.rtp.playout import Playout
from tests.plc.configs import playout_of

FRAME = 960
RATE = 48_000


@pytest.fixture(scope="module")
def payloads() -> list[bytes]:
    """Two seconds of speech, coded for a network that loses a fifth."""
    pytest.importorskip("av", reason="PyAV is not installed")
    soxr = pytest.importorskip("soxr", reason="soxr is not installed")
    if LibopusDecoder.open(1) is None:
        pytest.skip("libopus is not installed (Debian: libopus0)")
    speech, rate = soundfile.read(str(files("plc") / "data" / "speech.flac"), dtype="float32")
    signal = soxr.resample(speech.reshape(len(speech), -1)[:, 0], rate, RATE)
    coder = Opus(1, 24_000, expected_loss=0.2)
    return [coder.encode(signal[at : at + FRAME, None]) for at in range(RATE, 3 * RATE, FRAME)]


class Plain(Opus):
    """Opus that does not look for what packets repeat."""

    def repeated(self, payload: bytes) -> int:
        return 0


def played(
    payloads: list[bytes], gone: set[int], coder: type[Opus] = Opus
) -> tuple[NDArray[np.float32], Playout]:
    """Return what comes out 60 ms later of packets that come on time, and who played it."""
    playout = playout_of(
        coder(1), FRAME, DelayConfig(mode=DelayMode.FIXED, delay_ms=60), model="ar"
    )
    blocks = []
    for k, payload in enumerate(payloads):
        if k not in gone:
            playout.put_packet(RtpPacket(111, k, FRAME * k, 5, payload), 0.02 * k)
        blocks.append(playout.tick(0.02 * k)[0].copy())
    return np.concatenate(blocks), playout


def snr_db(truth: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    return float(10 * np.log10(np.sum(truth**2) / np.sum((truth - found) ** 2)))


def test_most_packets_of_speech_repeat_their_frame(payloads: list[bytes]) -> None:
    repeated = [repeated_samples(payload, 1) for payload in payloads]
    assert set(repeated) == {0, FRAME}
    assert repeated.count(FRAME) > len(repeated) / 2


def test_a_lost_packet_is_read_from_the_next_one(payloads: list[bytes]) -> None:
    gone = {k for k in range(20, 90, 5) if repeated_samples(payloads[k + 1], 1)}
    assert len(gone) > 5
    whole, _ = played(payloads, set())
    heard, playout = played(payloads, gone)
    assert playout.received.redundant_packets == len(gone)
    assert playout.received.lost_samples == 0
    assert playout.concealment.lost_packets == 0
    concealed, without = played(payloads, gone, Plain)
    assert without.concealment.lost_packets == len(gone)
    # At a lower rate, but of the same sound: concealment knows only what came before.
    assert snr_db(whole, heard) > snr_db(whole, concealed) + 3.0


def test_several_in_a_row_leave_all_but_the_last_to_concealment(payloads: list[bytes]) -> None:
    last = next(k for k in range(30, 90) if repeated_samples(payloads[k + 1], 1))
    _, playout = played(payloads, {last - 2, last - 1, last})
    assert playout.received.redundant_packets == 1
    assert playout.received.lost_samples == 2 * FRAME


def test_the_music_coder_repeats_nothing() -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    coder = Opus(1, 96_000)
    payload = coder.encode(np.zeros((FRAME, 1), np.float32))
    assert repeated_samples(payload, 1) == 0
    assert coder.decode_repeated(payload) is None


@pytest.mark.parametrize(("made", "is_audio"), [(3.9, True), (-4.1, False), (np.nan, False)])
def test_what_libopus_makes_far_louder_than_full_scale_is_no_audio(
    payloads: list[bytes], made: float, is_audio: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = LibopusDecoder.open(1)
    assert decoder is not None

    out, destroy = decoder._out, decoder._library.opus_decoder_destroy

    def decode(*_: object) -> int:
        out[FRAME // 2] = made
        return FRAME

    loud = SimpleNamespace(opus_decode_float=decode, opus_decoder_destroy=destroy)
    monkeypatch.setattr(decoder, "_library", loud)
    found = decoder.decode(payloads[0], FRAME)
    assert (found is not None) == is_audio


def test_flags_are_read_as_the_rfc_has_them() -> None:
    wide_20_ms, hybrid_10_ms, wide_60_ms = 9 << 3, 12 << 3, 11 << 3
    assert repeated_samples(bytes([wide_20_ms, 0b0100_0000]), 1) == 960
    assert repeated_samples(bytes([wide_20_ms, 0b1011_1111]), 1) == 0
    assert repeated_samples(bytes([hybrid_10_ms, 0b1100_0000]), 1) == 480
    # Three voices, then the flag; and for stereo the side's after the middle's.
    assert repeated_samples(bytes([wide_60_ms, 0b0001_0000]), 1) == 2880
    assert repeated_samples(bytes([wide_20_ms | 4, 0b0001_0000]), 2) == 960
    assert repeated_samples(bytes([wide_20_ms | 1, 0b0100_0000]), 1) == 0  # two frames
    assert repeated_samples(bytes([wide_20_ms]), 1) == 0


def test_a_lost_packet_is_concealed_and_an_empty_one_is_malformed(payloads: list[bytes]) -> None:
    decoder = LibopusDecoder.open(1)
    assert decoder is not None
    for payload in payloads[:20]:
        assert decoder.decode(payload, FRAME) is not None
    assert decoder.decode(b"", FRAME) is None
    concealed = decoder.conceal(FRAME)
    assert concealed is not None
    assert concealed.shape == (FRAME, 1)
    assert np.abs(concealed).max() > 0.0


@given(payload=st.binary(max_size=80))
def test_any_bytes_are_no_trouble(payload: bytes) -> None:
    decoder = LibopusDecoder.open(1)
    if decoder is None:
        pytest.skip("libopus is not installed (Debian: libopus0)")
    for samples in (repeated_samples(payload, 1), FRAME):
        for made in (decoder.decode(payload, samples), decoder.decode_repeated(payload, samples)):
            assert made is None or made.shape == (samples, 1)
