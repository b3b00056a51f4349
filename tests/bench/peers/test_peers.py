import ctypes
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from plc.engine.stream.methods import BASELINES
from plc.errors import ConfigError
from plc_bench import peers
from plc_bench.peers import base, g711, jacktrip, neteq, opus, rates
from plc_bench.peers.base import PeerError
from plc_bench.quality import contenders
from plc_bench.quality.contenders import contender
from plc_bench.quality.stream import Stream, play
from plc_bench.scores.metrics import Mask, nmse_db
from tests.signals import noise, sine, tones

NARROW = 8_000


def stream_of(
    signal: NDArray[np.float32], trace: Mask, packet_samples: int, sample_rate: int
) -> Stream:
    return Stream(signal.reshape(len(signal), -1), trace, packet_samples, sample_rate)


def lost_at(packets: int, *lost: int) -> Mask:
    trace = np.zeros(packets, bool)
    trace[list(lost)] = True
    return trace


def played_or_skipped(name: str, stream: Stream) -> NDArray[np.float32]:
    """Return what a peer plays; skip the test where what it needs is not installed."""
    try:
        return play(contender(name), stream)
    except PeerError as error:
        if "apt-get install" in str(error):
            pytest.skip(str(error))
        raise


def test_every_peer_has_a_line_of_help_and_can_be_asked_for_by_name() -> None:
    assert set(peers.PEERS) == set(contenders.KINDS)
    for name, line in peers.PEERS.items():
        assert line
        assert contender(name).coded == (name not in ("jacktrip", *BASELINES))


@pytest.mark.parametrize(
    "name", ["jacktrip:2", "g711:64k", "opus:best", "opus:c11", "opus:", "neteq:1"]
)
def test_options_that_a_peer_does_not_have_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"peer '{name}'"):
        contender(name)


def test_a_library_that_is_not_there_is_named_with_its_package() -> None:
    with pytest.raises(PeerError, match="apt-get install libnowhere1"):
        base.load("nowhere-to-be-found", "libnowhere1")
    with pytest.raises(PeerError, match="cannot load /no/such"):
        base.load("/no/such.so", "libnowhere1")


# --- rates ------------------------------------------------------------------------------------


def test_a_stream_at_another_rate_comes_back_in_its_place() -> None:
    pytest.importorskip("soxr")
    signal = sine(440.0, 44_100, 8820)[:, None]
    back = rates.at_rate(signal, 44_100, 8_000, lambda there: there)
    assert back.shape == signal.shape
    assert nmse_db(signal, back, np.arange(8820) % 8820 > 500) < -40.0


def test_packets_begin_at_the_nearest_sample_of_another_rate() -> None:
    np.testing.assert_array_equal(rates.packet_edges(4, 512, 44_100, 8_000), [0, 93, 186, 279, 372])
    assert rates.whole_packet(441, 44_100, 48_000) == 480
    with pytest.raises(PeerError, match="packets of 512 samples at 44100 Hz"):
        rates.whole_packet(512, 44_100, 48_000)


# --- JackTrip ---------------------------------------------------------------------------------


def burg_by_definition(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Burg's predictor of the highest order, each stage from its own definition."""
    a, f, b = np.array([1.0]), x.copy(), x.copy()
    for _ in range(x.size - 1):
        f, b = f[1:], b[:-1]
        mu = -2.0 * (f @ b) / (f @ f + b @ b)
        a = np.append(a, 0.0) + mu * np.append(a, 0.0)[::-1]
        f, b = f + mu * b, b + mu * f
    return a


def test_jacktrips_burg_is_burgs_method_but_for_its_damping(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = noise(3, 24, 1.0)
    monkeypatch.setattr(jacktrip, "DAMPING", np.float32(2.0))
    # Float32, and a denominator that is carried on rather than summed anew.
    np.testing.assert_allclose(
        jacktrip.burg(x)[:16], burg_by_definition(x.astype(np.float64))[:16], atol=0.02
    )


def test_jacktrip_burg_of_silence_predicts_silence() -> None:
    assert jacktrip.burg(np.zeros(64, np.float32)).tolist() == [1.0] + [0.0] * 63
    assert not jacktrip.predict(np.zeros(64, np.float32), 128).any()


@pytest.mark.parametrize(("packet", "held"), [(32, 8), (64, 4), (127, 2), (128, 2), (257, 1)])
def test_jacktrips_history_has_as_many_packets_as_the_original(packet: int, held: int) -> None:
    assert jacktrip.history_packets(packet) == held


def test_jacktrip_goes_on_with_a_sine_and_fades_the_next_packet_in() -> None:
    signal = sine(997.0, 48_000, 20 * 128)
    stream = stream_of(signal, lost_at(20, 10), 128, 48_000)
    played = play(contender("jacktrip"), stream)
    lost = stream.lost_by_class()[""]
    assert nmse_db(stream.signal, played, lost) < -15.0
    np.testing.assert_array_equal(played[: 10 * 128], stream.signal[: 10 * 128])
    np.testing.assert_array_equal(played[12 * 128 :], stream.signal[12 * 128 :])
    following = jacktrip.predict(signal[8 * 128 : 10 * 128], 256)[128:]
    half = 0.5 * (following[64] + signal[11 * 128 + 64])
    assert played[11 * 128 + 64, 0] == pytest.approx(half, abs=1e-6)


def test_jacktrip_is_silent_until_its_history_is_full_and_after_half_a_second() -> None:
    signal = noise(1, 70 * 480)
    first = play(contender("jacktrip"), stream_of(signal, lost_at(70, 1), 480, 48_000))
    assert not first[480:960].any()
    long = lost_at(70, *range(5, 68))
    played = play(contender("jacktrip"), stream_of(signal, long, 480, 48_000))
    assert np.isfinite(played).all()
    assert not played[(5 + 51) * 480 : 68 * 480].any()
    np.testing.assert_array_equal(played[68 * 480 :, 0], signal[68 * 480 :])


def test_jacktrip_stays_finite_on_hostile_input() -> None:
    square = np.sign(sine(100.0, 48_000, 30 * 128, 1.0))
    trace = lost_at(30, *range(6, 25, 2), 20, 21)
    for signal in (square, np.zeros_like(square), noise(1, square.size, 1e-20)):
        assert np.isfinite(play(contender("jacktrip"), stream_of(signal, trace, 128, 48_000))).all()


# --- G.711 Appendix I -------------------------------------------------------------------------


def periodic(period: int, samples: int) -> NDArray[np.float64]:
    """Return a few harmonics, as a voice has them: the coarse search sees half of the samples."""
    phase = 2 * np.pi * np.arange(samples) / period
    return np.asarray(sum(np.cos(k * phase + k * k) / (4 * k) for k in range(1, 6)))


@pytest.mark.parametrize("period", [40, 57, 80, 119, 120])
def test_the_pitch_period_of_a_periodic_signal_is_found(period: int) -> None:
    found = g711.pitch_period(periodic(period, g711.HISTORY))
    assert found % period == 0


def test_a_gap_of_one_frame_in_a_periodic_signal_is_filled_without_a_trace() -> None:
    signal = periodic(90, 1200)
    damaged = signal.copy()
    damaged[640:720] = 9.0
    played = g711.conceal_gaps(damaged, np.array([[640, 720]]))
    np.testing.assert_allclose(played, signal, atol=1e-12)


def test_a_long_gap_falls_by_a_fifth_every_10_ms_to_silence_at_60_ms() -> None:
    # One period is repeated, two, then three; of a signal of one period all are the same.
    signal = periodic(80, 3200)
    played = g711.conceal_gaps(signal, np.array([[800, 800 + 10 * 80]]))
    gains = [
        float(
            played[at : at + 80]
            @ signal[at : at + 80]
            / (signal[at : at + 80] @ signal[at : at + 80])
        )
        for at in range(800, 800 + 10 * 80, 80)
    ]
    assert gains[0] == pytest.approx(1.0)
    assert all(0.0 < a - b < 0.35 for a, b in pairwise(gains[:6]))
    assert gains[6:] == [0.0] * 4
    assert played[800 + 79 + 80] == pytest.approx((1 - 0.2 * 79 / 80) * signal[800 + 79 + 80])
    np.testing.assert_array_equal(played[1600 + 80 :], signal[1600 + 80 :])


def test_the_overlap_after_a_gap_grows_with_it() -> None:
    signal = noise(4, 4000).astype(np.float64)
    for frames, size in ((1, 0), (2, 32), (3, 64), (9, 80)):
        end = 1600 + 80 * frames
        played = g711.conceal_gaps(signal, np.array([[1600, end]]))
        quarter = g711.pitch_period(np.concatenate([np.zeros(500), signal[:1600]])[-390:]) // 4
        touched = np.flatnonzero(played[end:] != signal[end:])
        # The last sample of an overlap is the received one.
        assert touched.max() + 2 == min(quarter + size, 80)


def test_gaps_at_the_beginning_and_at_the_end_are_no_matter() -> None:
    signal = noise(5, 800).astype(np.float64)
    played = g711.conceal_gaps(signal, np.array([[0, 160], [700, 800]]))
    assert played.shape == (800,)
    assert np.isfinite(played).all()
    assert not played[:160].any()


def test_a_narrow_band_peer_plays_what_arrives_and_fills_what_does_not() -> None:
    signal = np.repeat(tones(2, NARROW, 8000)[:, None], 2, axis=1)
    stream = Stream(signal, lost_at(100, 40, 70, 71), 80, NARROW)
    played = played_or_skipped("g711", stream)
    whole = played_or_skipped("g711", Stream(signal, lost_at(100), 80, NARROW))
    np.testing.assert_allclose(whole, signal, atol=1 / 32768)
    lost = stream.lost_by_class()[""]
    assert nmse_db(whole, played, lost) < -1.0
    np.testing.assert_allclose(played[: 39 * 80], signal[: 39 * 80], atol=1 / 32768)


@pytest.mark.parametrize("name", ["g711", "neteq"])
def test_a_peer_does_not_look_at_what_is_lost(name: str) -> None:
    if name != "neteq":
        pytest.importorskip("soxr")
    signal, trace = tones(6, 16_000, 16_000)[:, None], lost_at(50, 20, 21, 33)
    stream = Stream(signal, trace, 320, 16_000)
    other = signal.copy()
    # Away from the edges, which the resampling filter of the sender sees.
    other[20 * 320 + 100 : 22 * 320 - 100] = noise(7, 440)[:, None]
    if name == "neteq":
        played_or_skipped(name, stream)
    first = played_or_skipped(name, stream)
    second = played_or_skipped(name, Stream(other, trace, 320, 16_000))
    # A filter's ringing 6 ms away is all that may be left.
    np.testing.assert_allclose(first, second, atol=2e-3)


# --- Opus -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "packet", "channels"),
    [
        (48_000, 480, 1),
        (48_000, 960, 2),
        (44_100, 441, 1),
        (16_000, 320, 1),
        (48_000, 120, 1),
        (48_000, 2880, 1),
    ],
)
def test_what_opus_decodes_lies_where_it_was_coded(rate: int, packet: int, channels: int) -> None:
    if rate == 44_100:
        pytest.importorskip("soxr")
    packets = rate // packet
    signal = np.repeat(tones(3, rate, packets * packet)[:, None], channels, axis=1)
    played = played_or_skipped("opus:128k:lowdelay", Stream(signal, lost_at(packets), packet, rate))
    middle = np.zeros(len(signal), bool)
    middle[len(signal) // 4 :] = True
    assert nmse_db(signal, played, middle) < -15.0


def test_opus_conceals_the_packet_that_is_lost_and_no_other() -> None:
    signal = tones(3, 48_000, 48_000)[:, None]
    stream = Stream(signal, lost_at(100, 50), 480, 48_000)
    whole = played_or_skipped("opus", Stream(signal, lost_at(100), 480, 48_000))
    loss = played_or_skipped("opus:64k", stream)
    # The share of losses is told to the encoder, so the coded audio differs a little throughout.
    differs = [
        nmse_db(whole[at : at + 480], loss[at : at + 480], np.ones(480, bool))
        for at in range(0, 48_000, 480)
    ]
    assert int(np.argmax(differs)) == 50
    assert differs[50] > differs[49] + 6.0
    assert differs[50] < 0.0


def test_opus_is_received_where_it_was_coded_and_redundancy_helps() -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    soxr = pytest.importorskip("soxr")
    path = str(files("plc") / "data" / "speech.flac")
    speech, rate = soundfile.read(path, dtype="float32", always_2d=True)
    speech = np.ascontiguousarray(soxr.resample(speech[: 4 * rate, :1], rate, 48_000))
    packet, count = 960, len(speech) // 960
    whole = Stream(speech, lost_at(count), packet, 48_000)
    decoded, received = (
        played_or_skipped(name, whole) for name in ("opus:24k:voip", "opus:24k:voip:received")
    )
    assert np.allclose(received, decoded, atol=1e-6)
    losing = Stream(speech, lost_at(count, *range(20, count - 2, 5)), packet, 48_000)
    conceals, repeats = (
        played_or_skipped(f"opus:24k:voip:{how}", losing) for how in ("received", "lbrr")
    )
    errors = [float(np.sum((played - decoded) ** 2)) for played in (conceals, repeats)]
    assert errors[1] < 0.5 * errors[0]


def test_a_libopus_without_dred_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = lost_at(10)
    played_or_skipped("opus", Stream(np.zeros((9600, 1), np.float32), lost, 960, 48_000))
    monkeypatch.setattr(opus, "_SET_DRED_DURATION", 4999)  # a request that none has
    with pytest.raises(PeerError, match=r"opus has no DRED: name a libopus built with it"):
        play(contender("opus:dred"), Stream(np.zeros((9600, 1), np.float32), lost, 960, 48_000))


def test_opus_refuses_packets_that_it_has_no_frames_for() -> None:
    assert opus.frame_of(1920, 48_000) == 960
    assert opus.frame_of(1440, 48_000) == 480
    with pytest.raises(PeerError, match=r"packets of 7 ms; Opus has frames"):
        opus.frame_of(336, 48_000)
    three = Stream(np.zeros((960, 3), np.float32), lost_at(2), 480, 48_000)
    with pytest.raises(PeerError, match="the stream has 3"):
        play(contender("opus"), three)


def test_a_library_that_is_no_libopus_is_a_peer_that_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    signal = Stream(np.zeros((960, 1), np.float32), lost_at(2), 480, 48_000)
    with pytest.raises(PeerError, match="cannot load /no/lib"):
        play(contender("opus:/no/lib.so"), signal)
    monkeypatch.setattr(opus, "load", lambda name, package: ctypes.CDLL(None))
    with pytest.raises(PeerError, match="is no libopus"):
        play(contender("opus:/not/opus.so"), signal)


# --- NetEq ------------------------------------------------------------------------------------


@pytest.mark.system
def test_neteq_plays_what_arrives_and_sounds_where_nothing_does() -> None:
    rate, packet = 16_000, 160
    signal = np.repeat(tones(8, rate, rate)[:, None], 2, axis=1)
    whole = played_or_skipped("neteq", Stream(signal, lost_at(100), packet, rate))
    # It fades into what it expects behind the last packet.
    middle = slice(packet, -packet)
    np.testing.assert_allclose(whole[middle], signal[middle], atol=1 / 32768)
    stream = Stream(signal, lost_at(100, 80, 81), packet, rate)
    played = play(contender("neteq"), stream)
    # Most of it lies before the loss, so that the median delay is the one there.
    middle = slice(packet, 79 * packet)
    np.testing.assert_allclose(played[middle], signal[middle], atol=1 / 32768)
    gap = slice(80 * packet, 82 * packet)
    assert 0.3 < float(np.std(played[gap]) / np.std(signal[gap])) < 1.5


def test_neteq_names_its_packages_where_they_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLC_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(neteq, "HEADERS", tmp_path / "no-webrtc")
    stream = Stream(np.zeros((960, 1), np.float32), lost_at(2), 480, 48_000)
    with pytest.raises(PeerError, match=r"apt-get install g\+\+ libtgowt-dev"):
        play(contender("neteq"), stream)
    monkeypatch.setattr(neteq, "HEADERS", tmp_path)  # there, and empty
    with pytest.raises(PeerError, match="the driver cannot be built"):
        play(contender("neteq"), stream)
    assert not list(tmp_path.glob("neteq-*"))
