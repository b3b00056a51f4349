"""Opus packets that repeat the ones before them."""

import ctypes
import math
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc.transport.rtp.codecs import Opus
from plc.transport.rtp.delay import DelayConfig, DelayMode
from plc.transport.rtp.libopus import LibopusDecoder, bound, repeated_samples
from plc.transport.rtp.packets import RtpPacket
from plc.transport.rtp.playout import Playout
from tests.plc.configs import playout_of
from tests.plc.transport.streams import Incoming
from tests.signals import content

FRAME = 960
RATE = 48_000
PADDED = bytes([9 << 3 | 3, 0x41, 2, 0b0000_0000, 7, 0, 0])
"""A packet of one frame of 20 ms, two bytes of padding behind it."""
# As libopus 1.5 declares them: what a packet holds of the second before it is told by its place.
STAND_IN = """
#include <stdlib.h>
void *opus_decoder_create(int rate, int channels, int *error) { *error = 0; return malloc(1); }
int opus_decoder_get_size(int channels) { return 1; }
void opus_decoder_destroy(void *state) { free(state); }
int opus_decode_float(void *s, const unsigned char *data, int size, float *out, int n, int fec) {
    for (int i = 0; i < n; i++) out[i] = 0.5f;
    return n < 960 ? n : 960;
}
void *opus_dred_decoder_create(int *error) { *error = 0; return malloc(1); }
void opus_dred_decoder_destroy(void *decoder) { free(decoder); }
void *opus_dred_alloc(int *error) { *error = HELD < 0 ? -5 : 0; return HELD < 0 ? 0 : malloc(1); }
void opus_dred_free(void *dred) { free(dred); }
int opus_dred_parse(void *decoder, void *dred, const unsigned char *data, int size, int most,
                    int rate, int *end, int later) {
    *end = 0;
    return size > 1 && (data[0] & 3) == 3 && data[1] & 0x40 ? HELD : 0;
}
int opus_decoder_dred_decode_float(void *s, const void *dred, int offset, float *out, int n) {
    for (int i = 0; i < n; i++) out[i] = offset / 48000.0f;
    return n;
}
"""


def with_dred(folder: Path, held: int) -> LibopusDecoder:
    """Return a decoder of a library whose packets hold so many samples; -1: it has no DRED."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    source, library = folder / f"opus{held}.c", folder / f"opus{held}.so"
    source.write_text(STAND_IN)
    command = ["gcc", "-shared", "-fPIC", f"-DHELD={held}", "-o", str(library), str(source)]
    subprocess.run(command, check=True)
    return LibopusDecoder(bound(ctypes.CDLL(str(library))), 1)


def coded(frame: int, bit_rate: int = 24_000) -> list[bytes]:
    """Return two seconds of speech, coded for a network that loses a fifth."""
    pytest.importorskip("av", reason="PyAV is not installed")
    soxr = pytest.importorskip("soxr", reason="soxr is not installed")
    if LibopusDecoder.open(1) is None:
        pytest.skip("libopus is not installed (Debian: libopus0)")
    speech, rate = soundfile.read(str(files("plc") / "data" / "speech.flac"), dtype="float32")
    signal = soxr.resample(speech.reshape(len(speech), -1)[:, 0], rate, RATE)
    coder = Opus(1, bit_rate, expected_loss=0.2)
    return [coder.encode(signal[at : at + frame, None]) for at in range(RATE, 3 * RATE, frame)]


@pytest.fixture(scope="module")
def payloads() -> list[bytes]:
    return coded(FRAME)


class Plain(Opus):
    """Opus that does not look for what packets repeat."""

    def repeated(self, payload: bytes) -> int:
        return 0


class Deaf(Opus):
    """Opus whose decoder is not told of what is lost."""

    def pass_lost(self, samples: int) -> None:
        return


def played(
    payloads: list[bytes], gone: set[int], coder: type[Opus] = Opus, frame: int = FRAME
) -> tuple[NDArray[np.float32], Playout]:
    """Return what comes out three packets later of those that come on time, and who played it."""
    delay_ms = 3000.0 * frame / RATE
    playout = playout_of(
        coder(1), frame, DelayConfig(mode=DelayMode.FIXED, delay_ms=delay_ms), model="ar"
    )
    blocks = []
    for k, payload in enumerate(payloads):
        now_s = k * frame / RATE
        if k not in gone:
            playout.arrivals.put(RtpPacket(111, k, frame * k, 5, payload), now_s)
        blocks.append(playout.tick(now_s)[0].copy())
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


@pytest.mark.parametrize(("frame", "bit_rate"), [(1920, 20_000), (2880, 24_000), (1920, 32_000)])
def test_packets_of_several_frames_repeat_too(frame: int, bit_rate: int) -> None:
    payloads = coded(frame, bit_rate)
    repeated = [repeated_samples(payload, 1) for payload in payloads]
    gone = {k for k in range(6, len(payloads) - 4, 4) if repeated[k + 1]}
    assert len(gone) > 3
    whole, _ = played(payloads, set(), frame=frame)
    heard, playout = played(payloads, gone, frame=frame)
    assert playout.received.redundant_packets == len(gone)
    # Of 40 ms in two frames the second one is repeated: 20 ms.
    assert playout.received.lost_samples == sum(frame - repeated[k + 1] for k in gone)
    concealed, without = played(payloads, gone, Plain, frame)
    assert without.received.lost_samples == len(gone) * frame
    assert snr_db(whole, heard) > snr_db(whole, concealed) + 1.0


@pytest.mark.parametrize("frame", [FRAME, 2880])
def test_a_copy_behind_a_burst_goes_on_from_what_was_lost(frame: int) -> None:
    payloads = coded(frame)
    repeated = [repeated_samples(payload, 1) for payload in payloads]
    whole, _ = played(payloads, set(), frame=frame)
    alike = {}
    for coder, burst in ((Opus, 1), (Opus, 2), (Deaf, 2)):
        sent, recovered = [], []
        for step in (5, 6, 7):
            last = [k for k in range(6, len(payloads) - 4, step) if repeated[k + 1]]
            gone = {k - before for k in last for before in range(burst)}
            heard, playout = played(payloads, gone, coder, frame)
            assert playout.received.redundant_packets == len(last)
            for stop in (
                (k + 4) * frame for k in last
            ):  # three packets later, and the ramp of 2.5 ms
                sent.append(whole[stop - frame + 120 : stop])
                recovered.append(heard[stop - frame + 120 : stop])
        alike[coder, burst] = np.corrcoef(np.concatenate(sent), np.concatenate(recovered))[0, 1]
    assert alike[Opus, 1] > 0.95
    assert alike[Opus, 2] > 0.45
    assert alike[Opus, 2] > alike[Deaf, 2] + 0.15


def test_a_packet_of_music_goes_on_from_the_lost_one() -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    if LibopusDecoder.open(1) is None:
        pytest.skip("libopus is not installed (Debian: libopus0)")
    frame, coder = 480, Opus(1, 96_000)
    signal = content("clarinet", RATE, 4 * RATE)
    payloads = [coder.encode(signal[at : at + frame]) for at in range(0, len(signal), frame)]
    gone = set(range(20, len(payloads) - 8, 9))
    whole, _ = played(payloads, set(), frame=frame)
    behind = np.concatenate([np.arange((k + 4) * frame, (k + 5) * frame) for k in gone])
    told, deaf = (played(payloads, gone, coder, frame)[0] for coder in (Opus, Deaf))
    assert snr_db(whole[behind], told[behind]) > snr_db(whole[behind], deaf[behind]) + 3.0


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
    assert coder.decode_repeated(payload, FRAME) is None


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


def test_packets_that_hold_a_second_give_what_was_lost_in_a_row(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    coder = Opus(1, decoder=with_dred(tmp_path, 4 * FRAME))
    playout = playout_of(coder, FRAME, DelayConfig(mode=DelayMode.FIXED, delay_ms=60), model="ar")
    blocks = []
    for k in range(40):
        if k not in (10, 11, 12, 20, 21, 22, 23, 24):
            playout.arrivals.put(RtpPacket(111, k, FRAME * k, 5, PADDED), 0.02 * k)
        blocks.append(playout.tick(0.02 * k)[0].copy())
    # Each as far before the packet behind the burst as it lies; the fifth came too late.
    assert [round(float(blocks[k + 4].mean()), 3) for k in (9, 10, 11, 12, 13)] == [
        0.5,
        0.06,
        0.04,
        0.02,
        0.5,
    ]
    assert playout.received.redundant_packets == 7
    assert playout.received.lost_samples == FRAME


@pytest.mark.parametrize("held", [1, 4, 50])
def test_what_packets_hold_is_waited_for_once_one_was_missed(tmp_path: Path, held: int) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    coder = Opus(1, decoder=with_dred(tmp_path, held * FRAME))
    playout = playout_of(coder, FRAME, model="ar", budget_ms=math.inf)
    rng = np.random.default_rng(0)
    late_s, lost = rng.exponential(0.001, 1000), rng.random(1000) < 0.1
    lost[:50] = False
    sent = [(0.02 * k + float(late_s[k]), k) for k in np.flatnonzero(~lost).tolist()]
    incoming = Incoming(sent)
    for tick in range(1005):
        for at_s, k in incoming.until(0.02 * tick):
            playout.arrivals.put(RtpPacket(111, k, FRAME * k, 5, PADDED), at_s)
        playout.tick(0.02 * tick)
    came = np.append(~lost, np.zeros(held, np.bool_))
    could = sum(bool(came[k + 1 : k + 1 + held].any()) for k in np.flatnonzero(lost).tolist())
    assert could > 70
    assert could - 2 <= playout.received.redundant_packets <= could


def test_what_is_not_held_is_not_decoded(tmp_path: Path) -> None:
    decoder = with_dred(tmp_path, 4 * FRAME)
    assert [decoder.reach(each) for each in (PADDED, b"", bytes([9 << 3, 0]))] == [4 * FRAME, 0, 0]
    made = decoder.decode_repeated(PADDED, 2 * FRAME, FRAME)
    assert made is not None
    assert made.shape == (FRAME, 1)
    assert np.allclose(made, 0.04)
    assert decoder.decode_repeated(bytes([9 << 3, 0]), FRAME, FRAME) is None
    older = with_dred(tmp_path, -1)
    assert older.reach(PADDED) == 0
    assert older.decode_repeated(PADDED, FRAME, FRAME) is None


def test_flags_are_read_as_the_rfc_has_them() -> None:
    wide_20_ms, hybrid_10_ms, wide_60_ms = 9 << 3, 12 << 3, 11 << 3
    assert repeated_samples(bytes([wide_20_ms, 0b0100_0000]), 1) == 960
    assert repeated_samples(bytes([wide_20_ms, 0b1011_1111]), 1) == 0
    assert repeated_samples(bytes([hybrid_10_ms, 0b1100_0000]), 1) == 480
    # Three voices, then the flag; and for stereo the side's after the middle's.
    assert repeated_samples(bytes([wide_60_ms, 0b0001_0000]), 1) == 2880
    assert repeated_samples(bytes([wide_20_ms | 4, 0b0001_0000]), 2) == 960
    # Of several frames the first: behind their lengths, of one byte or two.
    assert repeated_samples(bytes([wide_20_ms | 1, 0b0100_0000, 0]), 1) == 960
    assert repeated_samples(bytes([wide_20_ms | 2, 1, 0b0100_0000, 0]), 1) == 960
    assert repeated_samples(bytes([wide_20_ms | 2, 252, 0, 0b0100_0000]) + bytes(252), 1) == 960
    assert repeated_samples(bytes([wide_20_ms | 3, 0x83, 1, 1, 0b0100_0000, 0, 0]), 1) == 960
    assert repeated_samples(bytes([wide_20_ms]), 1) == 0
    # Behind the length of the padding, which may take several bytes.
    assert repeated_samples(PADDED, 1) == 0
    for length in ([2], [255, 2], [255, 255, 0]):
        head = bytes([wide_20_ms | 3, 0x41, *length])
        assert repeated_samples(head + bytes([0b0100_0000]) + bytes(600), 1) == 960
        assert repeated_samples(head, 1) == 0
    assert repeated_samples(bytes([wide_20_ms | 3, 0x42, 2, 0b0100_0000, 0, 0, 0]), 1) == 960
    assert repeated_samples(bytes([wide_20_ms | 3]), 1) == 0


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
        repeated = decoder.decode_repeated(payload, samples, samples)
        for made in (decoder.decode(payload, samples), repeated):
            assert made is None or made.shape == (samples, 1)
